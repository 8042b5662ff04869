//! Conversion of attach points to the wire.

use std::path::{Path, PathBuf};

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::point::At;
use bpfman_proto::v1::attach_info::Info;
use bpfman_proto::{WirePoint, v1};

use crate::args::attach::{AttachTo, LinkMetadata, ProbedFile};
use crate::args::value::{absolute, to_map};
use crate::error::CliError;

pub fn on_the_wire(point: AttachTo) -> Result<WirePoint, CliError> {
    Ok(WirePoint::Published(match point {
        AttachTo::Hook(words) => return Err(CliError::Usage(format!("{words:?} was not read as a hook"))),
        AttachTo::Xdp(xdp) => Info::XdpAttachInfo(v1::XdpAttachInfo {
            priority: xdp.interface.priority,
            iface: xdp.interface.iface.unwrap_or_default(),
            position: 0,
            proceed_on: xdp.proceed_on,
            netns: xdp.interface.netns.as_deref().map(absolute),
            metadata: to_map(&xdp.link.metadata),
        }),
        AttachTo::Tc(tc) => Info::TcAttachInfo(v1::TcAttachInfo {
            priority: tc.interface.priority,
            iface: tc.interface.iface.unwrap_or_default(),
            position: 0,
            direction: tc.direction.name().to_owned(),
            proceed_on: tc.proceed_on,
            netns: tc.interface.netns.as_deref().map(absolute),
            metadata: to_map(&tc.link.metadata),
        }),
        AttachTo::Tcx(tcx) => Info::TcxAttachInfo(v1::TcxAttachInfo {
            priority: tcx.interface.priority,
            iface: tcx.interface.iface.unwrap_or_default(),
            position: 0,
            direction: tcx.direction.name().to_owned(),
            netns: tcx.interface.netns.as_deref().map(absolute),
            metadata: to_map(&tcx.link.metadata),
        }),
        AttachTo::Tracepoint(tracepoint) => Info::TracepointAttachInfo(v1::TracepointAttachInfo {
            tracepoint: tracepoint.tracepoint,
            metadata: to_map(&tracepoint.link.metadata),
        }),
        AttachTo::Kprobe(kprobe) => {
            if kprobe.container_pid.is_some() {
                return Err(CliError::Invalid {
                    what: "kprobe container option not supported yet".to_owned(),
                    hint: Some(
                        "a kernel function runs for every container: leave out --container-pid".into(),
                    ),
                });
            }
            Info::KprobeAttachInfo(v1::KprobeAttachInfo {
                fn_name: kprobe.fn_name,
                offset: kprobe.offset,
                container_pid: None,
                metadata: to_map(&kprobe.link.metadata),
            })
        }
        AttachTo::Uprobe(uprobe) => Info::UprobeAttachInfo(v1::UprobeAttachInfo {
            target: target(&uprobe.file),
            fn_name: uprobe.fn_name,
            offset: uprobe.offset,
            pid: uprobe.file.pid,
            container_pid: uprobe.file.container_pid,
            metadata: to_map(&uprobe.link.metadata),
        }),
        AttachTo::Fentry(bound) => {
            Info::FentryAttachInfo(v1::FentryAttachInfo { metadata: to_map(&bound.link.metadata) })
        }
        AttachTo::Fexit(bound) => {
            Info::FexitAttachInfo(v1::FexitAttachInfo { metadata: to_map(&bound.link.metadata) })
        }
        AttachTo::Lsm(bound) => {
            Info::LsmAttachInfo(v1::LsmAttachInfo { metadata: to_map(&bound.link.metadata) })
        }
        AttachTo::TpBtf(bound) => return Ok(more(At::LoadedFor("tp_btf".to_owned()), &bound.link)),
        AttachTo::FmodRet(bound) => return Ok(more(At::LoadedFor("fmod_ret".to_owned()), &bound.link)),
        AttachTo::Iter(bound) => return Ok(more(At::LoadedFor("iter".to_owned()), &bound.link)),
        AttachTo::Freplace(bound) => return Ok(more(At::LoadedFor("freplace".to_owned()), &bound.link)),
        AttachTo::RawTracepoint(point) => return Ok(more(At::RawTracepoint(point.tracepoint), &point.link)),
        AttachTo::KprobeMulti(probes) => {
            let at = ext::KprobeMultiPoint { functions: probes.functions };
            return Ok(more(At::KprobeMulti(at), &probes.link));
        }
        AttachTo::UprobeMulti(probes) => {
            let at = ext::UprobeMultiPoint {
                target: target(&probes.file),
                functions: probes.functions,
                pid: probes.file.pid,
                container_pid: probes.file.container_pid,
            };
            return Ok(more(At::UprobeMulti(at), &probes.link));
        }
        AttachTo::Netkit(device) => {
            let at = ext::NetkitPoint { interface: device.iface, netns: netns_path(device.netns) };
            return Ok(more(At::Netkit(at), &device.link));
        }
        AttachTo::Usdt(probe) => {
            let (provider, name) = probe.name;
            let at = ext::UsdtPoint {
                target: target(&probe.file),
                provider,
                name,
                pid: probe.file.pid,
                container_pid: probe.file.container_pid,
            };
            return Ok(more(At::Usdt(at), &probe.link));
        }
        AttachTo::Ksyscall(call) => return Ok(more(At::Ksyscall(call.name), &call.link)),
        AttachTo::StructOps(functions) => return Ok(more(At::StructOps(functions.map), &functions.link)),
        AttachTo::Sockmap(sockmap) => return Ok(more(At::Sockmap(sockmap.map), &sockmap.link)),
        AttachTo::PerfEvent(event) => {
            let at = ext::PerfEventPoint {
                event: event.event,
                frequency: event.frequency,
                period: event.period,
                cpu: event.cpu,
                pid: event.pid,
            };
            return Ok(more(At::PerfEvent(at), &event.link));
        }
        AttachTo::Cgroup(cgroup) => return Ok(more(At::Cgroup(cgroup.path), &cgroup.link)),
        AttachTo::Netns(netns) => return Ok(more(At::Netns(netns_path(netns.netns)), &netns.link)),
        AttachTo::Netfilter(netfilter) => {
            let at = ext::NetfilterPoint {
                netns: netns_path(netfilter.netns),
                family: netfilter.family,
                hook: netfilter.hook,
                priority: netfilter.priority,
                defragment: netfilter.defragment,
            };
            return Ok(more(At::Netfilter(at), &netfilter.link));
        }
    }))
}

fn more(at: At, link: &LinkMetadata) -> WirePoint {
    WirePoint::More(ext::Point { at: Some(at), metadata: to_map(&link.metadata) })
}

fn netns_path(path: Option<PathBuf>) -> String {
    path.as_deref().map(absolute).unwrap_or_default()
}

/// Returns the target: a path if it has a slash, else a library's name, which the daemon looks up.
fn target(file: &ProbedFile) -> String {
    // A path inside a container does not depend on this process's working folder.
    if file.target.contains('/') && file.container_pid.is_none() {
        absolute(Path::new(&file.target))
    } else {
        file.target.clone()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, CliCommand};
    use crate::exit::Exit;

    fn point(line: &str) -> Result<WirePoint, CliError> {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            CliCommand::Attach(attach) => on_the_wire(attach.point),
            other => panic!("{other:?}"),
        }
    }

    fn info(line: &str) -> Result<Info, CliError> {
        match point(line)? {
            WirePoint::Published(info) => Ok(info),
            WirePoint::More(point) => panic!("{point:?}"),
        }
    }

    #[test]
    fn every_kind_becomes_its_own_message() {
        let xdp = info("bpfman attach 1 xdp -i eth0 -p 5 -n /run/netns/b -m a=b").unwrap();
        let expected = v1::XdpAttachInfo {
            priority: 5,
            iface: "eth0".into(),
            netns: Some("/run/netns/b".into()),
            metadata: [("a".to_owned(), "b".to_owned())].into(),
            ..Default::default()
        };
        assert_eq!(xdp, Info::XdpAttachInfo(expected));
        let tc = info("bpfman attach 1 tc -d ingress -i eth0 -p 5 --proceed-on ok").unwrap();
        assert!(matches!(tc, Info::TcAttachInfo(tc) if tc.direction == "ingress" && tc.proceed_on == [0]));
        assert!(matches!(info("bpfman attach 1 lsm").unwrap(), Info::LsmAttachInfo(_)));
        assert!(matches!(info("bpfman attach 1 fentry").unwrap(), Info::FentryAttachInfo(_)));
        assert!(matches!(info("bpfman attach 1 fexit").unwrap(), Info::FexitAttachInfo(_)));
    }

    #[test]
    fn points_unknown_to_v0_6_0_use_the_extension() {
        let at = |line: &str| match point(&format!("bpfman attach 1 {line}")).unwrap() {
            WirePoint::More(point) => point.at.unwrap(),
            WirePoint::Published(info) => panic!("{info:?}"),
        };
        for word in ["tp-btf", "tp_btf"] {
            assert_eq!(at(word), At::LoadedFor("tp_btf".to_owned()));
        }
        assert_eq!(at("raw-tracepoint -t sched_switch"), At::RawTracepoint("sched_switch".to_owned()));
        assert_eq!(at("cgroup --path /web"), At::Cgroup("/web".to_owned()));
        assert_eq!(at("netns"), At::Netns(String::new()));
        assert_eq!(at("sockmap --map connections"), At::Sockmap("connections".to_owned()));
        let usdt = ext::UsdtPoint {
            target: "libc".to_owned(),
            provider: "libc".to_owned(),
            name: "setjmp".to_owned(),
            pid: Some(7),
            container_pid: None,
        };
        assert_eq!(at("usdt -t libc -n libc:setjmp -p 7"), At::Usdt(usdt));
        for bad in ["", ":", "libc:", ":setjmp", "setjmp"] {
            assert!(Cli::try_parse_from(["bpfman", "attach", "1", "usdt", "-t", "libc", "-n", bad]).is_err());
        }
        let netkit = ext::NetkitPoint { interface: "nk0".to_owned(), netns: "/run/netns/b".to_owned() };
        assert_eq!(at("netkit -i nk0 -n /run/netns/b"), At::Netkit(netkit));
        assert_eq!(at("ksyscall -n openat"), At::Ksyscall("openat".to_owned()));
        assert_eq!(at("struct-ops --map steady"), At::StructOps("steady".to_owned()));
        let functions = vec!["tcp_*".to_owned(), "udp_sendmsg".to_owned()];
        assert_eq!(
            at("kprobe-multi -f tcp_*,udp_sendmsg"),
            At::KprobeMulti(ext::KprobeMultiPoint { functions })
        );
        let uprobes = ext::UprobeMultiPoint {
            target: "libc".to_owned(),
            functions: vec!["malloc".to_owned(), "free".to_owned()],
            pid: Some(7),
            container_pid: None,
        };
        assert_eq!(at("uprobe-multi -t libc -f malloc -f free -p 7"), At::UprobeMulti(uprobes));
        let event = ext::PerfEventPoint {
            event: "cpu-clock".to_owned(),
            frequency: Some(99),
            cpu: Some(1),
            pid: Some(7),
            ..Default::default()
        };
        for word in ["perf-event", "perf_event"] {
            assert_eq!(
                at(&format!("{word} --event cpu-clock -f 99 -c 1 -p 7")),
                At::PerfEvent(event.clone())
            );
        }
        for bad in ["", "--frequency 1 --period 1", "--frequency -1", "--period x", "--period 1 --cpu -1"] {
            let line = format!("bpfman attach 1 perf-event --event cpu-clock {bad}");
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
        let netfilter = ext::NetfilterPoint {
            netns: "/run/netns/b".to_owned(),
            family: "ipv6".to_owned(),
            hook: "input".to_owned(),
            priority: -100,
            defragment: true,
        };
        let line = "netfilter --family ipv6 --hook input --priority -100 --defragment -n /run/netns/b";
        assert_eq!(at(line), At::Netfilter(netfilter));
    }

    #[test]
    fn a_library_keeps_its_name_and_a_path_becomes_absolute() {
        let target = |line| match info(line).unwrap() {
            Info::UprobeAttachInfo(uprobe) => uprobe.target,
            other => panic!("{other:?}"),
        };
        assert_eq!(target("bpfman attach 1 uprobe -t libc -f malloc"), "libc");
        let here = std::env::current_dir().unwrap().join("bin/app");
        assert_eq!(Path::new(&target("bpfman attach 1 uprobe -t bin/app -f main")), here);
        assert_eq!(target("bpfman attach 1 uprobe -t bin/app -f main -c 7"), "bin/app");
    }

    #[test]
    fn kernel_functions_know_no_containers() {
        let error = info("bpfman attach 1 kprobe -f f -c 7").unwrap_err();
        assert_eq!(error.exit(), Exit::Invalid);
        assert_eq!(error.to_string(), "kprobe container option not supported yet");
    }
}
