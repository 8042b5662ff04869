//! Attach points that `bpfman.v1` has no messages for, from and to the wire.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bpfman_proto::ext::v1 as wire;
use bpfman_proto::v1;
use bpfmand_core::{
    AttachPoint, BadFunctionPattern, BadNetfilterPlace, BadPerfEvent, CgroupPath, FunctionPattern,
    NetfilterPlace, PerfEventPlace, ProcessScope, SampleRate,
};
use tonic::Status;
use wire::point::At;

use crate::status::invalid;
use crate::{parse, show};

pub fn either(
    attach: Option<v1::AttachInfo>,
    point: Option<wire::Point>,
) -> Result<(AttachPoint, BTreeMap<String, String>), Status> {
    match (attach, point) {
        (Some(_), Some(_)) => Err(invalid("the attach names two attach points")),
        (attach, None) => parse::attach(attach),
        (None, Some(point)) => {
            let metadata = parse::sorted(point.metadata);
            let at =
                point.at.ok_or_else(|| invalid("the attach names no attach point that this daemon knows"))?;
            Ok((of_wire(at)?, metadata))
        }
    }
}

fn of_wire(at: At) -> Result<AttachPoint, Status> {
    Ok(match at {
        At::LoadedFor(program_type) => match program_type.as_str() {
            "tp_btf" => AttachPoint::BtfTracepoint,
            "fmod_ret" => AttachPoint::FmodRet,
            "iter" => AttachPoint::Iter,
            "freplace" => AttachPoint::Freplace,
            other => {
                return Err(invalid(format!(
                    "type \"{other}\" is none of tp_btf, fmod_ret, iter, freplace, which attach to what they were loaded for"
                )));
            }
        },
        At::RawTracepoint(name) => AttachPoint::RawTracepoint { name: tracepoint(name)? },
        At::Cgroup(path) => AttachPoint::Cgroup {
            path: path.parse::<CgroupPath>().map_err(|error| invalid(error.to_string()))?,
        },
        At::Netns(path) => AttachPoint::Netns { netns: netns(path) },
        At::Netfilter(point) => {
            AttachPoint::Netfilter { netns: netns(point.netns.clone()), place: netfilter(&point)? }
        }
        At::Sockmap(map) if map.is_empty() => return Err(invalid("the attach names no map of sockets")),
        At::Sockmap(map) => AttachPoint::Sockmap { map },
        At::Usdt(point)
            if [&point.target, &point.provider, &point.name].iter().any(|text| text.is_empty()) =>
        {
            return Err(invalid("the static probe has no target, no provider or no name"));
        }
        At::Usdt(point) => AttachPoint::Usdt {
            target: point.target,
            provider: point.provider,
            name: point.name,
            scope: ProcessScope {
                pid: parse::process(point.pid)?,
                container_pid: parse::process(point.container_pid)?,
            },
        },
        At::Netkit(point) if point.interface.is_empty() => {
            return Err(invalid("the attach names no netkit device"));
        }
        At::Netkit(point) => {
            AttachPoint::Netkit { interface: parse::interface(&point.interface, Some(point.netns))? }
        }
        At::Ksyscall(name) if name.is_empty() => return Err(invalid("the attach names no system call")),
        At::Ksyscall(name) => AttachPoint::Ksyscall { name },
        At::StructOps(map) if map.is_empty() => {
            return Err(invalid("the attach names no map with a structure of functions"));
        }
        At::StructOps(map) => AttachPoint::StructOps { map },
        At::PerfEvent(point) => AttachPoint::PerfEvent { place: perf_event(&point)? },
        At::KprobeMulti(point) => AttachPoint::KprobeMulti { functions: kernel_functions(&point.functions)? },
        At::UprobeMulti(point) => {
            check_count(point.functions.len())?;
            if point.target.is_empty() || point.functions.iter().any(String::is_empty) {
                return Err(invalid("the user-space probe names no target, or a function without a name"));
            }
            AttachPoint::UprobeMulti {
                target: point.target,
                functions: point.functions,
                scope: ProcessScope {
                    pid: parse::process(point.pid)?,
                    container_pid: parse::process(point.container_pid)?,
                },
            }
        }
    })
}

const MAX_FUNCTIONS: usize = 1000;
/// Maximum number of patterns of one point: each is compared with all functions of the kernel.
const MAX_PATTERNS: usize = 100;

fn check_count(functions: usize) -> Result<(), Status> {
    match functions {
        0 => Err(invalid("the probe names no functions")),
        1..=MAX_FUNCTIONS => Ok(()),
        many => {
            Err(invalid(format!("the probe names {many} functions; one link names at most {MAX_FUNCTIONS}")))
        }
    }
}

fn kernel_functions(names: &[String]) -> Result<Vec<FunctionPattern>, Status> {
    check_count(names.len())?;
    let parsed = names.iter().map(|name| name.parse());
    let functions: Vec<FunctionPattern> =
        parsed.collect::<Result<_, BadFunctionPattern>>().map_err(|error| invalid(error.to_string()))?;
    let patterns = functions.iter().filter(|function| function.name().is_none()).count();
    if patterns > MAX_PATTERNS {
        return Err(invalid(format!(
            "the probe names {patterns} patterns of functions; one link names at most {MAX_PATTERNS}"
        )));
    }
    Ok(functions)
}

fn tracepoint(name: String) -> Result<String, Status> {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.len() < 128
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if is_name(&name) {
        return Ok(name);
    }
    Err(invalid(format!(
        "\"{}\" is no raw trace point: expected its name without a category, such as sched_switch",
        name.chars().take(128).collect::<String>()
    )))
}

fn netns(path: String) -> Option<PathBuf> {
    Some(path).filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn netfilter(point: &wire::NetfilterPoint) -> Result<NetfilterPlace, Status> {
    let place = || -> Result<NetfilterPlace, BadNetfilterPlace> {
        let place = NetfilterPlace {
            family: point.family.parse()?,
            hook: point.hook.parse()?,
            priority: point.priority,
            defragment: point.defragment,
        };
        place.check().map(|()| place)
    };
    place().map_err(|error| invalid(error.to_string()))
}

fn perf_event(point: &wire::PerfEventPoint) -> Result<PerfEventPlace, Status> {
    let pid = parse::process(point.pid)?;
    let place = || -> Result<PerfEventPlace, BadPerfEvent> {
        let rate = SampleRate::new(point.frequency, point.period)?;
        Ok(PerfEventPlace { event: point.event.parse()?, rate, cpu: point.cpu, pid })
    };
    place().map_err(|error| invalid(error.to_string()))
}

pub fn to_wire(point: &AttachPoint, metadata: &BTreeMap<String, String>) -> Option<wire::Point> {
    let path = |netns: &Option<PathBuf>| netns.as_ref().map(|path| path.display().to_string());
    let at = match point {
        AttachPoint::BtfTracepoint | AttachPoint::FmodRet | AttachPoint::Iter | AttachPoint::Freplace => {
            At::LoadedFor(point.type_name().to_owned())
        }
        AttachPoint::RawTracepoint { name } => At::RawTracepoint(name.clone()),
        AttachPoint::Cgroup { path } => At::Cgroup(path.to_string()),
        AttachPoint::KprobeMulti { functions } => At::KprobeMulti(wire::KprobeMultiPoint {
            functions: functions.iter().map(ToString::to_string).collect(),
        }),
        AttachPoint::UprobeMulti { target, functions, scope } => At::UprobeMulti(wire::UprobeMultiPoint {
            target: target.clone(),
            functions: functions.clone(),
            pid: scope.pid.map(u32::cast_signed),
            container_pid: scope.container_pid.map(u32::cast_signed),
        }),
        AttachPoint::Netns { netns } => At::Netns(path(netns).unwrap_or_default()),
        AttachPoint::Netfilter { netns, place } => At::Netfilter(wire::NetfilterPoint {
            netns: path(netns).unwrap_or_default(),
            family: place.family.name().to_owned(),
            hook: place.hook.name().to_owned(),
            priority: place.priority,
            defragment: place.defragment,
        }),
        AttachPoint::Sockmap { map } => At::Sockmap(map.clone()),
        AttachPoint::StructOps { map } => At::StructOps(map.clone()),
        AttachPoint::Usdt { target, provider, name, scope } => At::Usdt(wire::UsdtPoint {
            target: target.clone(),
            provider: provider.clone(),
            name: name.clone(),
            pid: scope.pid.map(u32::cast_signed),
            container_pid: scope.container_pid.map(u32::cast_signed),
        }),
        AttachPoint::Netkit { interface } => At::Netkit(wire::NetkitPoint {
            interface: interface.name.clone(),
            netns: path(&interface.netns).unwrap_or_default(),
        }),
        AttachPoint::Ksyscall { name } => At::Ksyscall(name.clone()),
        AttachPoint::PerfEvent { place } => {
            let (frequency, period) = match place.rate {
                SampleRate::Frequency(frequency) => (Some(frequency), None),
                SampleRate::Period(period) => (None, Some(period)),
            };
            At::PerfEvent(wire::PerfEventPoint {
                event: place.event.name().to_owned(),
                frequency,
                period,
                cpu: place.cpu,
                pid: place.pid.map(u32::cast_signed),
            })
        }
        AttachPoint::Xdp { .. }
        | AttachPoint::Tc { .. }
        | AttachPoint::Tcx { .. }
        | AttachPoint::Tracepoint { .. }
        | AttachPoint::Kprobe { .. }
        | AttachPoint::Uprobe { .. }
        | AttachPoint::Fentry
        | AttachPoint::Fexit
        | AttachPoint::Lsm => return None,
    };
    Some(wire::Point { at: Some(at), metadata: show::pairs(metadata) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(at: At) -> Result<AttachPoint, Status> {
        let metadata = [("owner".to_owned(), "acme".to_owned())].into_iter().collect();
        let (point, pairs) = either(None, Some(wire::Point { at: Some(at), metadata }))?;
        assert_eq!(pairs["owner"], "acme");
        Ok(point)
    }

    fn kprobes(functions: &[&str]) -> At {
        let functions = functions.iter().map(|name| (*name).to_owned()).collect();
        At::KprobeMulti(wire::KprobeMultiPoint { functions })
    }

    fn perf_event(event: &str, frequency: Option<u64>, period: Option<u64>) -> At {
        At::PerfEvent(wire::PerfEventPoint {
            event: event.to_owned(),
            frequency,
            period,
            ..Default::default()
        })
    }

    fn netfilter(family: &str, hook: &str, priority: i32, defragment: bool) -> At {
        let (family, hook) = (family.to_owned(), hook.to_owned());
        At::Netfilter(wire::NetfilterPoint { netns: String::new(), family, hook, priority, defragment })
    }

    #[test]
    fn points_come_back_as_they_were_sent() {
        let points = [
            At::LoadedFor("tp_btf".to_owned()),
            At::LoadedFor("fmod_ret".to_owned()),
            At::LoadedFor("iter".to_owned()),
            At::LoadedFor("freplace".to_owned()),
            At::RawTracepoint("sched_switch".to_owned()),
            At::Cgroup("/system.slice/web.service".to_owned()),
            At::Netns(String::new()),
            At::Netns("/run/netns/blue".to_owned()),
            netfilter("ipv6", "postrouting", -150, true),
            kprobes(&["tcp_v4_connect", "udp_*"]),
            At::UprobeMulti(wire::UprobeMultiPoint {
                target: "libc".to_owned(),
                functions: vec!["malloc".to_owned(), "free".to_owned()],
                pid: Some(7),
                container_pid: None,
            }),
            At::Sockmap("connections".to_owned()),
            At::StructOps("steady".to_owned()),
            At::Ksyscall("openat".to_owned()),
            At::Netkit(wire::NetkitPoint { interface: "nk0".to_owned(), netns: "/run/netns/b".to_owned() }),
            At::Usdt(wire::UsdtPoint {
                target: "libc".to_owned(),
                provider: "libc".to_owned(),
                name: "setjmp".to_owned(),
                pid: Some(7),
                container_pid: None,
            }),
            perf_event("cpu-clock", Some(99), None),
            At::PerfEvent(wire::PerfEventPoint {
                event: "cycles".to_owned(),
                period: Some(1_000_000),
                cpu: Some(0),
                pid: Some(7),
                ..Default::default()
            }),
        ];
        for at in points {
            let point = read(at.clone()).unwrap();
            assert_eq!(to_wire(&point, &BTreeMap::new()).unwrap().at, Some(at));
        }
    }

    #[test]
    fn what_is_no_point_is_refused_by_name() {
        for (at, says) in [
            (At::LoadedFor("fentry".to_owned()), "\"fentry\" is none of tp_btf, fmod_ret, iter, freplace"),
            (At::RawTracepoint("sched/sched_switch".to_owned()), "without a category"),
            (At::RawTracepoint(String::new()), "is no raw trace point"),
            (At::Cgroup("web".to_owned()), "it is not absolute"),
            (At::Cgroup("/a/../b".to_owned()), "it leads through"),
            (kprobes(&[]), "names no functions"),
            (kprobes(&["a"; 1001]), "names 1001 functions"),
            (kprobes(&["a*"; 101]), "names 101 patterns"),
            (kprobes(&["a:b"]), "\"a:b\" is neither a function"),
            (At::UprobeMulti(wire::UprobeMultiPoint::default()), "names no functions"),
            (At::Sockmap(String::new()), "names no map of sockets"),
            (At::Usdt(wire::UsdtPoint::default()), "no target, no provider"),
            (At::Netkit(wire::NetkitPoint::default()), "names no netkit device"),
            (At::Ksyscall(String::new()), "names no system call"),
            (At::StructOps(String::new()), "names no map with a structure of functions"),
            (perf_event("clock", Some(99), None), "\"clock\" is none of cpu-clock, task-clock"),
            (perf_event("cpu-clock", None, None), "either a frequency or a period"),
            (perf_event("cpu-clock", Some(1), Some(1)), "either a frequency or a period"),
            (perf_event("cpu-clock", Some(0), None), "frequency is at least 1"),
            (perf_event("cpu-clock", None, Some(u64::MAX)), "period is at most"),
            (netfilter("inet", "input", 0, false), "none of ipv4, ipv6"),
            (netfilter("ipv4", "ingress", 0, false), "none of prerouting"),
            (netfilter("ipv4", "input", i32::MIN, false), "is the kernel's own"),
            (netfilter("ipv4", "input", -400, true), "before fragments are put together"),
        ] {
            let status = read(at).unwrap_err();
            assert!(status.message().contains(says), "{}", status.message());
        }
        let both = either(Some(v1::AttachInfo::default()), Some(wire::Point::default())).unwrap_err();
        assert!(both.message().contains("two attach points"));
        assert!(either(None, Some(wire::Point::default())).is_err() && either(None, None).is_err());
    }
}
