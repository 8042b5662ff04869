//! Attach points from messages; errors name the invalid value.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use bpfman_model::{
    AttachPoint, BadFunctionPattern, BadNetfilterPlace, BadPerfEvent, CgroupPath, Direction, FunctionPattern,
    HookKind, Interface, NetfilterPlace, PerfEventPlace, ProceedOn, ProcessScope, SampleRate,
    UnknownDirection, VerdictFamily,
};

use crate::ext::v1 as wire;
use crate::v1;
use wire::point::At;

/// Attach point in a message that no program can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPoint {
    /// Invalid value.
    #[error("{0}")]
    Invalid(String),
    /// Option that this version does not support.
    #[error("{0}")]
    Unsupported(String),
}

/// Attach point, and the metadata of its link.
pub type PointWithMetadata = (AttachPoint, BTreeMap<String, String>);

/// Parses a point of either service, and its metadata. A request has exactly one.
///
/// # Errors
/// There is no point, there are two, or a value is invalid.
pub fn either(
    attach: Option<v1::AttachInfo>,
    point: Option<wire::Point>,
) -> Result<PointWithMetadata, BadPoint> {
    match (attach, point) {
        (Some(_), Some(_)) => Err(invalid("the attach names two attach points")),
        (attach, None) => published(attach),
        (None, Some(point)) => {
            let at =
                point.at.ok_or_else(|| invalid("the attach names no attach point that this daemon knows"))?;
            Ok((of_wire(at)?, sorted(point.metadata)))
        }
    }
}

/// Parses a point of `bpfman.v1`, and its metadata. Fails if there is no point, or a value is invalid.
pub fn published(info: Option<v1::AttachInfo>) -> Result<PointWithMetadata, BadPoint> {
    attach_point(info, interface)
}

/// Parses an attach point for all matching interfaces, and its metadata: it may lack an interface.
///
/// # Errors
/// There is no point, or a value is invalid.
pub fn matching(info: Option<v1::AttachInfo>) -> Result<PointWithMetadata, BadPoint> {
    attach_point(info, |name, netns| match name {
        "" => Ok(Interface { name: String::new(), netns: file(netns) }),
        name => interface(name, netns),
    })
}

fn invalid(message: impl Into<String>) -> BadPoint {
    BadPoint::Invalid(message.into())
}

fn sorted(map: HashMap<String, String>) -> BTreeMap<String, String> {
    map.into_iter().collect()
}

fn attach_point(
    info: Option<v1::AttachInfo>,
    interface: impl Fn(&str, Option<String>) -> Result<Interface, BadPoint>,
) -> Result<PointWithMetadata, BadPoint> {
    use v1::attach_info::Info;
    let info = info
        .and_then(|attach| attach.info)
        .ok_or_else(|| invalid("the attach names no attach point that this daemon knows"))?;
    Ok(match info {
        Info::XdpAttachInfo(xdp) => (
            AttachPoint::Xdp {
                interface: interface(&xdp.iface, xdp.netns)?,
                priority: xdp.priority,
                proceed_on: proceed_on(VerdictFamily::Xdp, &xdp.proceed_on)?,
            },
            sorted(xdp.metadata),
        ),
        Info::TcAttachInfo(tc) => (
            AttachPoint::Tc {
                interface: interface(&tc.iface, tc.netns)?,
                direction: direction(&tc.direction)?,
                priority: tc.priority,
                proceed_on: proceed_on(VerdictFamily::Tc, &tc.proceed_on)?,
            },
            sorted(tc.metadata),
        ),
        Info::TcxAttachInfo(tcx) => (
            AttachPoint::Tcx {
                interface: interface(&tcx.iface, tcx.netns)?,
                direction: direction(&tcx.direction)?,
                priority: tcx.priority,
            },
            sorted(tcx.metadata),
        ),
        Info::TracepointAttachInfo(point) => {
            let (category, name) = tracepoint(&point.tracepoint)?;
            (AttachPoint::Tracepoint { category, name }, sorted(point.metadata))
        }
        Info::KprobeAttachInfo(probe) => {
            if probe.container_pid.is_some() {
                let why = "a kernel probe fires for the whole machine: it cannot be limited to a container";
                return Err(BadPoint::Unsupported(why.to_owned()));
            }
            if probe.fn_name.is_empty() {
                return Err(invalid("the kernel probe names no function"));
            }
            (AttachPoint::Kprobe { function: probe.fn_name, offset: probe.offset }, sorted(probe.metadata))
        }
        Info::UprobeAttachInfo(probe) => {
            if probe.target.is_empty() {
                return Err(invalid("the user-space probe names no target"));
            }
            (
                AttachPoint::Uprobe {
                    target: probe.target,
                    // Some clients send an empty name for none.
                    function: probe.fn_name.filter(|name| !name.is_empty()),
                    offset: probe.offset,
                    scope: ProcessScope {
                        pid: process(probe.pid)?,
                        container_pid: process(probe.container_pid)?,
                    },
                },
                sorted(probe.metadata),
            )
        }
        Info::FentryAttachInfo(fentry) => (AttachPoint::Fentry, sorted(fentry.metadata)),
        Info::FexitAttachInfo(fexit) => (AttachPoint::Fexit, sorted(fexit.metadata)),
        Info::LsmAttachInfo(lsm) => (AttachPoint::Lsm, sorted(lsm.metadata)),
    })
}

/// Parses an interface in the network namespace of a file; an empty path is the daemon's own.
///
/// # Errors
/// The kernel accepts no such name.
pub fn interface(name: &str, netns: Option<String>) -> Result<Interface, BadPoint> {
    Interface::parse(name, file(netns)).map_err(|error| invalid(error.to_string()))
}

/// Parses a hook of `bpfman.ext.v1`. Fails if there is no hook, or a value is invalid.
pub fn hook(hook: Option<wire::Hook>) -> Result<(Interface, HookKind), BadPoint> {
    let hook = hook.ok_or_else(|| invalid("the request names no hook"))?;
    let kind = match hook.kind.as_str() {
        "xdp" => HookKind::Xdp,
        "tc" => HookKind::Tc(direction(&hook.direction)?),
        "tcx" => HookKind::Tcx(direction(&hook.direction)?),
        other => return Err(invalid(format!("hook kind \"{other}\" is none of xdp, tc, tcx"))),
    };
    Ok((interface(&hook.iface, Some(hook.netns))?, kind))
}

/// Returns the file of a network namespace; `None` for an empty path.
fn file(netns: Option<String>) -> Option<PathBuf> {
    netns.filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn direction(text: &str) -> Result<Direction, BadPoint> {
    text.parse().map_err(|error: UnknownDirection| invalid(error.to_string()))
}

fn proceed_on(family: VerdictFamily, codes: &[i32]) -> Result<ProceedOn, BadPoint> {
    ProceedOn::from_codes(family, codes).map_err(|error| invalid(error.to_string()))
}

fn tracepoint(text: &str) -> Result<(String, String), BadPoint> {
    match text.split('/').collect::<Vec<_>>()[..] {
        [category, name]
            if !category.is_empty()
                && !name.is_empty()
                && !category.starts_with('.')
                && !name.starts_with('.') =>
        {
            Ok((category.to_owned(), name.to_owned()))
        }
        _ => Err(invalid(format!("trace point \"{text}\" is not of the form category/name"))),
    }
}

fn process(pid: Option<i32>) -> Result<Option<u32>, BadPoint> {
    pid.map(|pid| {
        u32::try_from(pid)
            .ok()
            .filter(|pid| *pid > 0)
            .ok_or_else(|| invalid(format!("process id {pid} is not positive")))
    })
    .transpose()
}

fn of_wire(at: At) -> Result<AttachPoint, BadPoint> {
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
        At::RawTracepoint(name) => AttachPoint::RawTracepoint { name: raw_tracepoint(name)? },
        At::Cgroup(path) => AttachPoint::Cgroup {
            path: path.parse::<CgroupPath>().map_err(|error| invalid(error.to_string()))?,
        },
        At::Netns(path) => AttachPoint::Netns { netns: file(Some(path)) },
        At::Netfilter(point) => {
            AttachPoint::Netfilter { netns: file(Some(point.netns.clone())), place: netfilter(&point)? }
        }
        At::Sockmap(map) if map.is_empty() => return Err(invalid("the attach names no sockmap")),
        At::Sockmap(map) => AttachPoint::Sockmap { map },
        At::Usdt(point)
            if [&point.target, &point.provider, &point.name].iter().any(|text| text.is_empty()) =>
        {
            return Err(invalid("the USDT probe has no target, no provider or no name"));
        }
        At::Usdt(point) => AttachPoint::Usdt {
            target: point.target,
            provider: point.provider,
            name: point.name,
            scope: ProcessScope { pid: process(point.pid)?, container_pid: process(point.container_pid)? },
        },
        At::Netkit(point) if point.interface.is_empty() => {
            return Err(invalid("the attach names no netkit device"));
        }
        At::Netkit(point) => {
            AttachPoint::Netkit { interface: interface(&point.interface, Some(point.netns))? }
        }
        At::Ksyscall(name) if name.is_empty() => return Err(invalid("the attach names no system call")),
        At::Ksyscall(name) => AttachPoint::Ksyscall { name },
        At::StructOps(map) if map.is_empty() => {
            return Err(invalid("the attach names no struct_ops map"));
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
                    pid: process(point.pid)?,
                    container_pid: process(point.container_pid)?,
                },
            }
        }
    })
}

const MAX_FUNCTIONS: usize = 1000;
/// Maximum number of patterns of one point: each is compared with all functions of the kernel.
const MAX_PATTERNS: usize = 100;

fn check_count(functions: usize) -> Result<(), BadPoint> {
    match functions {
        0 => Err(invalid("the probe names no functions")),
        1..=MAX_FUNCTIONS => Ok(()),
        many => {
            Err(invalid(format!("the probe names {many} functions; one link names at most {MAX_FUNCTIONS}")))
        }
    }
}

fn kernel_functions(names: &[String]) -> Result<Vec<FunctionPattern>, BadPoint> {
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

/// Checks the name of a raw tracepoint.
fn raw_tracepoint(name: String) -> Result<String, BadPoint> {
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

fn netfilter(point: &wire::NetfilterPoint) -> Result<NetfilterPlace, BadPoint> {
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

fn perf_event(point: &wire::PerfEventPoint) -> Result<PerfEventPlace, BadPoint> {
    let pid = process(point.pid)?;
    let place = || -> Result<PerfEventPlace, BadPerfEvent> {
        let rate = SampleRate::new(point.frequency, point.period)?;
        Ok(PerfEventPlace { event: point.event.parse()?, rate, cpu: point.cpu, pid })
    };
    place().map_err(|error| invalid(error.to_string()))
}
