//! Hooks in the form of `bpfman run`: `xdp:eth0`, `kprobe:vfs_unlink`, `count=tracepoint:sched/sched_switch`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::suggestion::did_you_mean;
use crate::hook::HookName;

/// Hook with the program for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedHook {
    /// Function name; none for the program that fits.
    pub program: Option<String>,
    /// Hook to attach to.
    pub hook: AnyHook,
}

/// Hook of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnyHook {
    /// XDP or traffic control of an interface.
    Interface(HookName),
    /// Tracepoint, with its category.
    Tracepoint(String),
    /// Tracepoint, by its name alone.
    RawTracepoint(String),
    /// Kernel function.
    Kprobe(ProbedPlace),
    /// Function of a program or library.
    Uprobe {
        /// Path, or a library's name.
        target: String,
        /// Place in the target.
        place: ProbedPlace,
    },
    /// Several kernel functions.
    KprobeMulti(Vec<String>),
    /// Several functions of a program or library.
    UprobeMulti {
        /// Path, or a library's name.
        target: String,
        /// Names of the functions.
        functions: Vec<String>,
    },
    /// Target set at load: fentry, fexit, fmod_ret, lsm, tp_btf, iter or freplace.
    LoadedFor {
        /// Program type.
        kind: &'static str,
        /// Kernel function, hook, tracepoint or kind of objects; none for the one in the section's name.
        target: Option<String>,
    },
    /// Path of a cgroup v2.
    Cgroup(String),
    /// Network namespace; none for the daemon's own.
    Netns(Option<PathBuf>),
    /// Netfilter hook.
    Netfilter {
        /// `ipv4` or `ipv6`.
        family: String,
        /// Hook, by nft's name.
        hook: String,
        /// Priority; the lowest runs first.
        priority: i32,
    },
    /// Perf event.
    PerfEvent {
        /// Event, by perf's name.
        event: String,
        /// Samples per second.
        frequency: u64,
    },
    /// One of the program's own sockmaps.
    Sockmap(String),
    /// One of the program's own struct_ops maps, by the name of its variable.
    StructOps(String),
    /// USDT probe of a program or library.
    Usdt {
        /// Path, or a library's name.
        target: String,
        /// Provider of the probe.
        provider: String,
        /// Name of the probe.
        name: String,
    },
    /// System call, by its name.
    Ksyscall(String),
    /// Netkit device, by its primary end.
    Netkit(String),
}

/// Place in a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbedPlace {
    /// Name of the function.
    pub function: String,
    /// Offset from the function's start, in bytes.
    pub offset: u64,
    /// True for the function's return.
    pub on_return: bool,
}

/// Error of a text that is no hook.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no hook: {why}")]
pub struct BadAnyHook {
    /// Rejected text.
    pub text: String,
    /// Defect of the text.
    pub why: String,
}

/// Priority at an interface if none is given.
pub const DEFAULT_PRIORITY: i32 = 50;
/// Types that attach to the target of their load.
const LOADED_FOR: [&str; 7] = ["fentry", "fexit", "fmod_ret", "lsm", "tp_btf", "iter", "freplace"];

const KINDS: [&str; 21] = [
    "xdp",
    "tc",
    "tcx",
    "tracepoint",
    "raw_tracepoint",
    "kprobe",
    "kretprobe",
    "uprobe",
    "uretprobe",
    "kprobe_multi",
    "uprobe_multi",
    "cgroup",
    "netns",
    "netfilter",
    "perf_event",
    "sockmap",
    "struct_ops",
    "usdt",
    "ksyscall",
    "kretsyscall",
    "netkit",
];

impl FromStr for NamedHook {
    type Err = BadAnyHook;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Function names have neither `:` nor `/`; paths and patterns in hooks may contain an `=`.
        let (program, hook) = match text.split_once('=') {
            Some((program, hook)) if !program.contains([':', '/']) => (Some(program), hook),
            _ => (None, text),
        };
        if program == Some("") {
            let why = "the program in front of = is missing".to_owned();
            return Err(BadAnyHook { text: text.to_owned(), why });
        }
        Ok(Self { program: program.map(str::to_owned), hook: hook.parse()? })
    }
}

impl FromStr for AnyHook {
    type Err = BadAnyHook;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |why: &str| BadAnyHook { text: text.to_owned(), why: why.to_owned() };
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest).filter(|rest| !rest.is_empty())),
            None => (text, None),
        };
        let kind = kind.replace('-', "_");
        let need = |what: &str| rest.ok_or_else(|| bad(&format!("write {kind}:{what}")));
        if let Some(kind) = LOADED_FOR.into_iter().find(|known| *known == kind) {
            return Ok(Self::LoadedFor { kind, target: rest.map(str::to_owned) });
        }
        Ok(match kind.as_str() {
            "xdp" | "tc" | "tcx" => {
                Self::Interface(text.parse().map_err(|error: crate::hook::BadHook| bad(error.why))?)
            }
            "tracepoint" | "tp" => {
                let name = need("CATEGORY/NAME")?;
                if name.split('/').filter(|part| !part.is_empty()).count() != 2 {
                    return Err(bad(
                        "write tracepoint:CATEGORY/NAME, for example tracepoint:sched/sched_switch",
                    ));
                }
                Self::Tracepoint(name.to_owned())
            }
            "raw_tracepoint" | "raw_tp" => Self::RawTracepoint(need("NAME")?.to_owned()),
            "kprobe" | "kretprobe" => Self::Kprobe(
                place(need("FUNCTION")?, kind == "kretprobe")
                    .ok_or_else(|| bad("what follows + is no number of bytes"))?,
            ),
            "uprobe" | "uretprobe" => {
                let (target, function) = need("FILE:FUNCTION")?
                    .rsplit_once(':')
                    .ok_or_else(|| bad("write uprobe:FILE:FUNCTION"))?;
                let place = place(function, kind == "uretprobe");
                Self::Uprobe {
                    target: target.to_owned(),
                    place: place.ok_or_else(|| bad("what follows + is no number of bytes"))?,
                }
            }
            "kprobe_multi" => Self::KprobeMulti(names(need("FUNCTION,...")?)),
            "uprobe_multi" => {
                let (target, functions) = need("FILE:FUNCTION,...")?
                    .rsplit_once(':')
                    .ok_or_else(|| bad("write uprobe_multi:FILE:FUNCTION,..."))?;
                Self::UprobeMulti { target: target.to_owned(), functions: names(functions) }
            }
            "cgroup" => Self::Cgroup(need("/PATH")?.to_owned()),
            "netns" => Self::Netns(rest.map(PathBuf::from)),
            "netfilter" => {
                let parts: Vec<&str> = need("FAMILY:HOOK:PRIORITY")?.split(':').collect();
                let [family, hook, priority] = parts[..] else {
                    return Err(bad(
                        "write netfilter:FAMILY:HOOK:PRIORITY, for example netfilter:ipv4:input:-100",
                    ));
                };
                let priority = priority.parse().map_err(|_| bad("the priority is no number"))?;
                Self::Netfilter { family: family.to_owned(), hook: hook.to_owned(), priority }
            }
            "perf_event" => {
                let parts = need("EVENT:HZ")?.rsplit_once(':');
                let parts = parts.and_then(|(event, frequency)| Some((event, frequency.parse().ok()?)));
                let (event, frequency) = parts
                    .ok_or_else(|| bad("write perf_event:EVENT:HZ, for example perf_event:cpu-clock:99"))?;
                Self::PerfEvent { event: event.to_owned(), frequency }
            }
            "sockmap" => Self::Sockmap(need("MAP")?.to_owned()),
            "struct_ops" => Self::StructOps(need("MAP")?.to_owned()),
            "usdt" => {
                let parts: Vec<&str> = need("FILE:PROVIDER:NAME")?.rsplitn(3, ':').collect();
                let [name, provider, target] = parts[..] else {
                    return Err(bad("write usdt:FILE:PROVIDER:NAME, for example usdt:libc:libc:setjmp"));
                };
                Self::Usdt { target: target.to_owned(), provider: provider.to_owned(), name: name.to_owned() }
            }
            "ksyscall" | "kretsyscall" => Self::Ksyscall(need("NAME")?.to_owned()),
            "netkit" => Self::Netkit(need("IFACE")?.to_owned()),
            other => {
                let meant = did_you_mean(other, KINDS.into_iter().chain(LOADED_FOR));
                return Err(bad(&format!(
                    "{other:?} is no kind of hook{meant}; `bpfman run --help` lists them"
                )));
            }
        })
    }
}

fn place(text: &str, on_return: bool) -> Option<ProbedPlace> {
    let (function, offset) = match text.split_once('+') {
        None => (text, 0),
        Some((function, digits)) => {
            let hex = digits.strip_prefix("0x");
            (function, hex.map_or_else(|| digits.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok())?)
        }
    };
    Some(ProbedPlace { function: function.to_owned(), offset, on_return })
}

fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

impl AnyHook {
    /// Returns the type as which a program of this type has to be loaded for this hook; none if it does not fit.
    #[must_use]
    pub fn takes(&self, program_type: &str) -> Option<String> {
        let fits = match (self, program_type) {
            (Self::Interface(hook), "tc" | "tcx") => {
                let kind = match hook.point {
                    crate::hook::HookPoint::Xdp => return None,
                    crate::hook::HookPoint::Tc(_) => "tc",
                    crate::hook::HookPoint::Tcx(_) => "tcx",
                };
                return Some(kind.to_owned());
            }
            (Self::Interface(hook), "xdp") => hook.point == crate::hook::HookPoint::Xdp,
            (Self::Kprobe(place), "kprobe" | "kretprobe") if place.on_return => {
                return Some("kretprobe".to_owned());
            }
            (Self::Uprobe { place, .. }, "uprobe" | "uretprobe") if place.on_return => {
                return Some("uretprobe".to_owned());
            }
            (Self::LoadedFor { kind, .. }, of) => *kind == of,
            (Self::Tracepoint(_), "tracepoint")
            | (Self::RawTracepoint(_), "raw_tracepoint" | "raw_tracepoint_writable")
            | (Self::Kprobe(_), "kprobe" | "kretprobe")
            | (Self::Uprobe { .. }, "uprobe" | "uretprobe")
            | (Self::KprobeMulti(_), "kprobe_multi" | "kretprobe_multi" | "kprobe_session")
            | (Self::UprobeMulti { .. }, "uprobe_multi" | "uretprobe_multi" | "uprobe_session")
            | (Self::StructOps(_), "struct_ops")
            | (Self::Usdt { .. }, "usdt")
            | (Self::Ksyscall(_), "ksyscall" | "kretsyscall")
            | (Self::Netkit(_), "netkit")
            | (Self::Netns(_), "sk_lookup" | "flow_dissector")
            | (Self::Netfilter { .. }, "netfilter")
            | (Self::PerfEvent { .. }, "perf_event")
            | (Self::Sockmap(_), "sk_skb" | "sk_msg") => true,
            (Self::Cgroup(_), of) => of.starts_with("cgroup_") || matches!(of, "sock_ops" | "lsm_cgroup"),
            _ => false,
        };
        fits.then(|| program_type.to_owned())
    }

    /// Returns the hook that a program's section names, if any.
    #[must_use]
    pub fn of_section(program_type: &str, target: Option<&str>) -> Option<Self> {
        if let Some(kind) = LOADED_FOR.into_iter().find(|known| *known == program_type) {
            return target.map(|target| Self::LoadedFor { kind, target: Some(target.to_owned()) });
        }
        let kind = match program_type {
            "tracepoint" | "raw_tracepoint" | "kprobe" | "kretprobe" | "uprobe" | "uretprobe" | "usdt" => {
                program_type
            }
            "raw_tracepoint_writable" => "raw_tracepoint",
            "ksyscall" | "kretsyscall" => "ksyscall",
            "kprobe_multi" | "kretprobe_multi" | "kprobe_session" => "kprobe_multi",
            "uprobe_multi" | "uretprobe_multi" | "uprobe_session" => "uprobe_multi",
            _ => return None,
        };
        format!("{kind}:{}", target?).parse().ok()
    }

    /// Returns the forms of hooks for a program type, for error messages.
    #[must_use]
    pub fn forms(program_type: &str) -> Option<&'static str> {
        Some(match program_type {
            "xdp" => "xdp:IFACE",
            "tc" | "tcx" => "tc:IFACE:ingress or tcx:IFACE:ingress",
            "tracepoint" => "tracepoint:CATEGORY/NAME",
            "raw_tracepoint" | "raw_tracepoint_writable" => "raw_tracepoint:NAME",
            "kprobe" | "kretprobe" => "kprobe:FUNCTION",
            "uprobe" | "uretprobe" => "uprobe:FILE:FUNCTION",
            "kprobe_multi" | "kretprobe_multi" | "kprobe_session" => "kprobe_multi:FUNCTION,...",
            "uprobe_multi" | "uretprobe_multi" | "uprobe_session" => "uprobe_multi:FILE:FUNCTION,...",
            "fentry" => "fentry:FUNCTION",
            "fexit" => "fexit:FUNCTION",
            "fmod_ret" => "fmod_ret:FUNCTION",
            "lsm" => "lsm:HOOK",
            "tp_btf" => "tp_btf:NAME",
            "iter" => "iter:OBJECTS",
            "sk_lookup" | "flow_dissector" => "netns or netns:/PATH",
            "netfilter" => "netfilter:FAMILY:HOOK:PRIORITY",
            "perf_event" => "perf_event:EVENT:HZ",
            "sk_skb" | "sk_msg" => "sockmap:MAP",
            "struct_ops" => "struct_ops:MAP",
            "usdt" => "usdt:FILE:PROVIDER:NAME",
            "ksyscall" | "kretsyscall" => "ksyscall:NAME",
            "netkit" => "netkit:IFACE",
            "freplace" => "freplace:PROGRAM_ID:FUNCTION",
            "sock_ops" | "lsm_cgroup" => "cgroup:/PATH",
            other if other.starts_with("cgroup_") => "cgroup:/PATH",
            _ => return None,
        })
    }
}

impl fmt::Display for AnyHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |place: &ProbedPlace| match place.offset {
            0 => place.function.clone(),
            offset => format!("{}+{offset:#x}", place.function),
        };
        let side = |on_return, kind: &'static str, back: &'static str| if on_return { back } else { kind };
        match self {
            Self::Interface(hook) => write!(f, "{hook}"),
            Self::Tracepoint(name) => write!(f, "tracepoint:{name}"),
            Self::RawTracepoint(name) => write!(f, "raw_tracepoint:{name}"),
            Self::Kprobe(at) => write!(f, "{}:{}", side(at.on_return, "kprobe", "kretprobe"), place(at)),
            Self::Uprobe { target, place: at } => {
                write!(f, "{}:{target}:{}", side(at.on_return, "uprobe", "uretprobe"), place(at))
            }
            Self::KprobeMulti(functions) => write!(f, "kprobe_multi:{}", functions.join(",")),
            Self::UprobeMulti { target, functions } => {
                write!(f, "uprobe_multi:{target}:{}", functions.join(","))
            }
            Self::LoadedFor { kind, target: Some(target) } => write!(f, "{kind}:{target}"),
            Self::LoadedFor { kind, target: None } => f.write_str(kind),
            Self::Cgroup(path) => write!(f, "cgroup:{path}"),
            Self::Netns(Some(path)) => write!(f, "netns:{}", path.display()),
            Self::Netns(None) => f.write_str("netns"),
            Self::Netfilter { family, hook, priority } => write!(f, "netfilter:{family}:{hook}:{priority}"),
            Self::PerfEvent { event, frequency } => write!(f, "perf_event:{event}:{frequency}"),
            Self::Sockmap(map) => write!(f, "sockmap:{map}"),
            Self::StructOps(map) => write!(f, "struct_ops:{map}"),
            Self::Usdt { target, provider, name } => write!(f, "usdt:{target}:{provider}:{name}"),
            Self::Ksyscall(name) => write!(f, "ksyscall:{name}"),
            Self::Netkit(interface) => write!(f, "netkit:{interface}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_parsed_prints_the_same() {
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
            assert_eq!(text.parse::<AnyHook>().unwrap().to_string(), text);
        }
        let named: NamedHook = "count=uprobe:/opt/a=b:main".parse().unwrap();
        assert_eq!(
            (named.program.as_deref(), named.hook.to_string().as_str()),
            (Some("count"), "uprobe:/opt/a=b:main")
        );
        let bare: NamedHook = "uprobe:/opt/a=b:main".parse().unwrap();
        assert_eq!(bare.program, None);
    }

    #[test]
    fn each_mistake_is_named() {
        for (text, why) in [
            ("eth0", "no kind of hook; `bpfman run --help` lists them"),
            ("tc:eth0", "the direction is missing"),
            ("kprobe", "write kprobe:FUNCTION"),
            ("kprobe:f+x", "no number of bytes"),
            ("tracepoint:sched_switch", "CATEGORY/NAME"),
            ("perf_event:cycles", "EVENT:HZ"),
            ("netfilter:ipv4:input", "FAMILY:HOOK:PRIORITY"),
            ("usdt:libc:setjmp", "FILE:PROVIDER:NAME"),
            ("=xdp:eth0", "the program in front of = is missing"),
        ] {
            let error = text.parse::<NamedHook>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_hook_says_what_a_program_is_loaded_as() {
        let of = |hook: &str, program: &str| hook.parse::<AnyHook>().unwrap().takes(program);
        assert_eq!(of("tcx:eth0:ingress", "tc").as_deref(), Some("tcx"));
        assert_eq!(of("kretprobe:f", "kprobe").as_deref(), Some("kretprobe"));
        assert_eq!(of("kprobe:f", "kretprobe").as_deref(), Some("kretprobe"));
        assert_eq!(of("cgroup:/", "cgroup_skb").as_deref(), Some("cgroup_skb"));
        assert_eq!(of("xdp:eth0", "tc"), None);
        assert_eq!(of("fentry:f", "fexit"), None);
    }

    #[test]
    fn sections_say_where_programs_attach() {
        let of = |program: &str, target| AnyHook::of_section(program, target).map(|hook| hook.to_string());
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
