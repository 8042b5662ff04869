//! Text form of attach points: `xdp:eth0`, `kprobe:vfs_unlink`, `tracepoint:sched/sched_switch`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::{
    AttachPoint, HookKind, HookName, Interface, NetfilterPlace, PerfEventPlace, ProceedOn, ProcessScope,
    ProgramType, SampleRate, TypeScope, VerdictFamily,
};

/// Attach point as users write it, with the parts that concern the program's load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenPoint {
    /// Attach point; at an interface with [`Self::DEFAULT_PRIORITY`] and the default proceed-on set.
    pub point: AttachPoint,
    /// True for the return of a probed function.
    pub on_return: bool,
    /// Target of the load, for types that need one: kernel function, hook, tracepoint or kind of objects.
    /// `None`: the section's name has it.
    pub target: Option<String>,
}

/// Error of a text that is no attach point.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no hook: {why}")]
pub struct BadWrittenPoint {
    /// Rejected text.
    pub text: String,
    /// Defect of the text.
    pub why: String,
    /// Kind in front of the colon, if no point has it.
    pub unknown_kind: Option<String>,
}

/// Attach points that are determined by the program's load.
const LOADED_FOR: [AttachPoint; 7] = [
    AttachPoint::Fentry,
    AttachPoint::Fexit,
    AttachPoint::FmodRet,
    AttachPoint::Lsm,
    AttachPoint::BtfTracepoint,
    AttachPoint::Iter,
    AttachPoint::Freplace,
];

impl FromStr for WrittenPoint {
    type Err = BadWrittenPoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |why: String| {
            let unknown_kind = None;
            BadWrittenPoint { text: text.to_owned(), why, unknown_kind }
        };
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest).filter(|rest| !rest.is_empty())),
            None => (text, None),
        };
        let kind = kind.replace('-', "_");
        if let Some(point) = LOADED_FOR.into_iter().find(|known| known.type_name() == kind) {
            return Ok(Self { point, on_return: false, target: rest.map(str::to_owned) });
        }
        let point = match kind.as_str() {
            "xdp" | "tc" | "tcx" => {
                let hook = text.parse::<HookName>().map_err(|error| bad(error.why.to_owned()))?;
                AttachPoint::at_hook(hook, Self::DEFAULT_PRIORITY)
            }
            _ => match point(&kind, rest).map_err(bad)? {
                Some(point) => point,
                None => {
                    let error = bad(format!("{kind:?} is no kind of hook"));
                    return Err(BadWrittenPoint { unknown_kind: Some(kind), ..error });
                }
            },
        };
        let on_return = matches!(kind.as_str(), "kretprobe" | "uretprobe");
        Ok(Self { point, on_return, target: None })
    }
}

/// Parses a point of this kind from the text after the colon; `None` for an unknown kind.
fn point(kind: &str, rest: Option<&str>) -> Result<Option<AttachPoint>, String> {
    let need = |what: &str| rest.ok_or_else(|| format!("write {kind}:{what}"));
    Ok(Some(match kind {
        "tracepoint" | "tp" => match need("CATEGORY/NAME")?.split('/').collect::<Vec<_>>()[..] {
            [category, name] if !category.is_empty() && !name.is_empty() => {
                AttachPoint::Tracepoint { category: category.to_owned(), name: name.to_owned() }
            }
            _ => {
                return Err(
                    "write tracepoint:CATEGORY/NAME, for example tracepoint:sched/sched_switch".to_owned()
                );
            }
        },
        "raw_tracepoint" | "raw_tp" => AttachPoint::RawTracepoint { name: need("NAME")?.to_owned() },
        "kprobe" | "kretprobe" => {
            let (function, offset) = place(need("FUNCTION")?)?;
            AttachPoint::Kprobe { function, offset }
        }
        "uprobe" | "uretprobe" => {
            let parts = need("FILE:FUNCTION")?.rsplit_once(':');
            let (target, function) = parts.ok_or("write uprobe:FILE:FUNCTION")?;
            let (function, offset) = place(function)?;
            let scope = ProcessScope::default();
            AttachPoint::Uprobe { target: target.to_owned(), function: Some(function), offset, scope }
        }
        "kprobe_multi" => {
            let names = need("FUNCTION,...")?.split(',').map(str::parse);
            AttachPoint::KprobeMulti { functions: names.collect::<Result<_, _>>().map_err(text)? }
        }
        "uprobe_multi" => {
            let parts = need("FILE:FUNCTION,...")?.rsplit_once(':');
            let (target, functions) = parts.ok_or("write uprobe_multi:FILE:FUNCTION,...")?;
            let functions = functions.split(',').map(str::to_owned).collect();
            AttachPoint::UprobeMulti { target: target.to_owned(), functions, scope: ProcessScope::default() }
        }
        "cgroup" => AttachPoint::Cgroup { path: need("/PATH")?.parse().map_err(text)? },
        "netns" => AttachPoint::Netns { netns: rest.map(PathBuf::from) },
        "netfilter" => {
            let parts: Vec<&str> = need("FAMILY:HOOK:PRIORITY")?.split(':').collect();
            let [family, hook, priority] = parts[..] else {
                return Err(
                    "write netfilter:FAMILY:HOOK:PRIORITY, for example netfilter:ipv4:input:-100".to_owned()
                );
            };
            let priority = priority.parse().map_err(|_| "the priority is no number")?;
            let (family, hook) = (family.parse().map_err(text)?, hook.parse().map_err(text)?);
            let place = NetfilterPlace { family, hook, priority, defragment: false };
            AttachPoint::Netfilter { netns: None, place }
        }
        "perf_event" => {
            let parts = need("EVENT:HZ")?.rsplit_once(':');
            let parts = parts.and_then(|(event, frequency)| Some((event, frequency.parse().ok()?)));
            let (event, frequency) =
                parts.ok_or("write perf_event:EVENT:HZ, for example perf_event:cpu-clock:99")?;
            let rate = SampleRate::new(Some(frequency), None).map_err(text)?;
            let place = PerfEventPlace { event: event.parse().map_err(text)?, rate, cpu: None, pid: None };
            AttachPoint::PerfEvent { place }
        }
        "sockmap" => AttachPoint::Sockmap { map: need("MAP")?.to_owned() },
        "struct_ops" => AttachPoint::StructOps { map: need("MAP")?.to_owned() },
        "usdt" => {
            let parts: Vec<&str> = need("FILE:PROVIDER:NAME")?.rsplitn(3, ':').collect();
            let [name, provider, target] = parts[..] else {
                return Err("write usdt:FILE:PROVIDER:NAME, for example usdt:libc:libc:setjmp".to_owned());
            };
            let (target, provider, name) = (target.to_owned(), provider.to_owned(), name.to_owned());
            AttachPoint::Usdt { target, provider, name, scope: ProcessScope::default() }
        }
        "ksyscall" | "kretsyscall" => AttachPoint::Ksyscall { name: need("NAME")?.to_owned() },
        "netkit" => {
            let name = need("IFACE")?.to_owned();
            AttachPoint::Netkit { interface: Interface { name, netns: None } }
        }
        _ => return Ok(None),
    }))
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

/// Parses `FUNCTION` or `FUNCTION+BYTES`.
fn place(text: &str) -> Result<(String, u64), &'static str> {
    let Some((function, digits)) = text.split_once('+') else { return Ok((text.to_owned(), 0)) };
    let offset = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    Ok((function.to_owned(), offset.map_err(|_| "what follows + is no number of bytes")?))
}

impl WrittenPoint {
    /// Priority at an interface if none is given.
    pub const DEFAULT_PRIORITY: i32 = 50;

    /// Returns the type to load a program of `program_type` as for this point; `None` if it does not fit.
    #[must_use]
    pub fn takes(&self, program_type: ProgramType) -> Option<ProgramType> {
        use ProgramType as T;
        match (&self.point, program_type) {
            (AttachPoint::Tc { .. }, T::Tc | T::Tcx) => Some(T::Tc),
            (AttachPoint::Tcx { .. }, T::Tc | T::Tcx) => Some(T::Tcx),
            (AttachPoint::Kprobe { .. }, T::Kprobe | T::Kretprobe) if self.on_return => Some(T::Kretprobe),
            (AttachPoint::Uprobe { .. }, T::Uprobe | T::Uretprobe) if self.on_return => Some(T::Uretprobe),
            (point, program_type) => point.admits(program_type).then_some(program_type),
        }
    }

    /// Returns the point that a program's section names, if any.
    #[must_use]
    pub fn of_section(program_type: ProgramType, target: Option<&str>) -> Option<Self> {
        let kind = match program_type {
            ProgramType::Kretprobe | ProgramType::Uretprobe => program_type.name(),
            of => of.point_kind()?,
        };
        let names_target = program_type.scope() == TypeScope::Tasks
            || LOADED_FOR.iter().any(|point| point.admits(program_type));
        names_target.then(|| format!("{kind}:{}", target?).parse().ok())?
    }
}

impl AttachPoint {
    /// Returns the point at a hook of an interface, with the default proceed-on set.
    #[must_use]
    pub fn at_hook(hook: HookName, priority: i32) -> Self {
        let (interface, default) = (hook.interface, ProceedOn::default_for);
        match hook.kind {
            HookKind::Xdp => Self::Xdp { interface, priority, proceed_on: default(VerdictFamily::Xdp) },
            HookKind::Tc(direction) => {
                Self::Tc { interface, direction, priority, proceed_on: default(VerdictFamily::Tc) }
            }
            HookKind::Tcx(direction) => Self::Tcx { interface, direction, priority },
        }
    }
}

impl fmt::Display for WrittenPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |function: &str, offset: u64| match offset {
            0 => function.to_owned(),
            offset => format!("{function}+{offset:#x}"),
        };
        let probe = if self.on_return { "ret" } else { "" };
        let kind = self.point.type_name();
        match &self.point {
            AttachPoint::Tracepoint { category, name } => write!(f, "{kind}:{category}/{name}"),
            AttachPoint::Kprobe { function, offset } => write!(f, "k{probe}probe:{}", at(function, *offset)),
            AttachPoint::Uprobe { target, function, offset, .. } => {
                write!(f, "u{probe}probe:{target}:{}", at(function.as_deref().unwrap_or_default(), *offset))
            }
            AttachPoint::KprobeMulti { functions } => write!(f, "{kind}:{}", joined(functions)),
            AttachPoint::UprobeMulti { target, functions, .. } => {
                write!(f, "{kind}:{target}:{}", joined(functions))
            }
            AttachPoint::Netns { netns: Some(path) } => write!(f, "{kind}:{}", path.display()),
            AttachPoint::Netns { netns: None } => f.write_str(kind),
            AttachPoint::Netfilter { place, .. } => {
                write!(f, "{kind}:{}:{}:{}", place.family.name(), place.hook.name(), place.priority)
            }
            AttachPoint::PerfEvent { place } => {
                let (SampleRate::Frequency(rate) | SampleRate::Period(rate)) = place.rate;
                write!(f, "{kind}:{}:{rate}", place.event.name())
            }
            AttachPoint::Usdt { target, provider, name, .. } => {
                write!(f, "{kind}:{target}:{provider}:{name}")
            }
            point => match (point.hook(), &self.target) {
                (Some((interface, hook)), _) => f.write_str(&hook.at(interface)),
                (None, Some(target)) => write!(f, "{kind}:{target}"),
                (None, None) if point.is_of_load() => f.write_str(kind),
                (None, None) => write!(f, "{kind}:{point}"),
            },
        }
    }
}

fn joined(names: &[impl fmt::Display]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsed_point_prints_the_same_text() {
        for text in [
            "xdp:eth0@/run/netns/blue",
            "tc:eth0:ingress",
            "tracepoint:sched/sched_switch",
            "raw_tracepoint:sched_switch",
            "kprobe:vfs_unlink",
            "kretprobe:vfs_unlink",
            "kprobe:vfs_unlink+0x4",
            "uprobe:/usr/lib/libc.so.6:malloc",
            "uretprobe:libc:malloc",
            "kprobe_multi:tcp_*,udp_sendmsg",
            "uprobe_multi:libc:malloc,free",
            "fentry:vfs_read",
            "lsm",
            "cgroup:/web.slice",
            "netns",
            "netns:/run/netns/blue",
            "netfilter:ipv4:input:-100",
            "perf_event:cpu-clock:99",
            "sockmap:connections",
            "struct_ops:steady",
            "usdt:/opt/a:b/shop:shop:sold",
            "ksyscall:openat",
            "netkit:nk0",
            "freplace:17:limit",
        ] {
            assert_eq!(text.parse::<WrittenPoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn each_mistake_is_named() {
        for (text, why) in [
            ("eth0", "no kind of hook"),
            ("tc:eth0", "the direction is missing"),
            ("kprobe", "write kprobe:FUNCTION"),
            ("kprobe:f+x", "no number of bytes"),
            ("tracepoint:sched_switch", "CATEGORY/NAME"),
            ("perf_event:cycles", "EVENT:HZ"),
            ("netfilter:ipv4:input", "FAMILY:HOOK:PRIORITY"),
            ("usdt:libc:setjmp", "FILE:PROVIDER:NAME"),
        ] {
            let error = text.parse::<WrittenPoint>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_hook_says_what_a_program_is_loaded_as() {
        let of = |hook: &str, program: &str| {
            let taken = hook.parse::<WrittenPoint>().unwrap().takes(program.parse().unwrap());
            taken.map(ProgramType::name)
        };
        assert_eq!(of("tcx:eth0:ingress", "tc"), Some("tcx"));
        assert_eq!(of("kretprobe:f", "kprobe"), Some("kretprobe"));
        assert_eq!(of("kprobe:f", "kretprobe"), Some("kretprobe"));
        assert_eq!(of("cgroup:/", "cgroup_skb"), Some("cgroup_skb"));
        assert_eq!(of("xdp:eth0", "tc"), None);
        assert_eq!(of("fentry:f", "fexit"), None);
    }

    #[test]
    fn sections_say_where_programs_attach() {
        let of = |program: &str, target| {
            WrittenPoint::of_section(program.parse().unwrap(), target).map(|hook| hook.to_string())
        };
        assert_eq!(
            of("tracepoint", Some("sched/sched_switch")).as_deref(),
            Some("tracepoint:sched/sched_switch")
        );
        assert_eq!(of("kprobe_session", Some("tcp_*")).as_deref(), Some("kprobe_multi:tcp_*"));
        assert_eq!(of("fentry", Some("f")).as_deref(), Some("fentry:f"));
        assert_eq!(of("usdt", Some("libc:libc:setjmp")).as_deref(), Some("usdt:libc:libc:setjmp"));
        assert_eq!(of("kretsyscall", Some("openat")).as_deref(), Some("ksyscall:openat"));
        assert_eq!(of("uprobe_session", Some("/bin/sh:main")).as_deref(), Some("uprobe_multi:/bin/sh:main"));
        assert_eq!((of("struct_ops", Some("ops.member")), of("netkit", None)), (None, None));
        assert_eq!((of("kprobe", None), of("xdp", None)), (None, None));
    }
}
