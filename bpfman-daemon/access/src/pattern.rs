//! Patterns of hooks and targets, as grants write them.

use std::fmt;
use std::str::FromStr;

use bpfman_model::{BadGlob, Direction, Glob, HookKind};

/// Pattern of hooks: `xdp:eth*`, `tc:*:ingress`, `tcx:eth0`, without a direction for both. `*` alone matches all hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookPattern {
    kind: Option<&'static str>,
    interface: Glob,
    direction: Option<Direction>,
    text: String,
}

/// Pattern of targets: `uprobe:/usr/bin/*`, `kprobe:tcp_*`, `tracepoint:syscalls/*`. `*` alone matches all targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPattern {
    kind: Option<&'static str>,
    name: Glob,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    #[error(
        "\"{0}\" is no hook: expected xdp:INTERFACE, tc:INTERFACE[:ingress|:egress], tcx:INTERFACE[:…] or *"
    )]
    Hook(String),
    #[error("\"{0}\" is no target: expected TYPE:NAME, where TYPE is one of {known}, or *", known = TARGETS.join(", "))]
    Target(String),
    #[error("\"{0}\" is no pattern of images: expected REGISTRY/REPOSITORY, such as quay.io/team/*, or *")]
    Image(String),
    #[error("\"{0}\" is no application: expected NAMESPACE/NAME, NAME for a cluster application, or *")]
    Application(String),
    /// Invalid pattern of names.
    #[error(transparent)]
    Name(#[from] BadGlob),
}

const HOOKS: [&str; 3] = ["xdp", "tc", "tcx"];
pub const TARGETS: [&str; 20] = [
    "uprobe",
    "kprobe",
    "tracepoint",
    "raw_tracepoint",
    "tp_btf",
    "fentry",
    "fexit",
    "fmod_ret",
    "lsm",
    "lsm_cgroup",
    "iter",
    "cgroup",
    "netns",
    "netfilter",
    "perf_event",
    "sockmap",
    "struct_ops",
    "ksyscall",
    "netkit",
    "freplace",
];

fn kind_of(known: &[&'static str], text: &str) -> Option<&'static str> {
    known.iter().find(|kind| **kind == text).copied()
}

/// Returns whether a pattern matches a name, which may be a path. No path with `..` matches.
pub(crate) fn takes_name(pattern: &Glob, name: &str) -> bool {
    !name.split('/').any(|part| part == "..") && pattern.matches(name)
}

impl HookPattern {
    /// Returns whether the pattern matches this hook.
    #[must_use]
    pub fn matches(&self, kind: HookKind, interface: &str) -> bool {
        self.is_at(kind) && self.interface.matches(interface)
    }

    /// Returns whether the pattern certainly matches the hooks of all interfaces of another pattern.
    #[must_use]
    pub fn covers(&self, kind: HookKind, interfaces: &Glob) -> bool {
        self.is_at(kind) && self.interface.covers(interfaces)
    }

    fn is_at(&self, kind: HookKind) -> bool {
        self.kind.is_none_or(|own| own == kind.name())
            && (self.direction.is_none() || self.direction == kind.direction())
    }
}

impl FromStr for HookPattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let bad = || BadPattern::Hook(text.to_owned());
        if text == "*" {
            let (interface, text) = (Glob::parse("*")?, text.to_owned());
            return Ok(Self { kind: None, interface, direction: None, text });
        }
        let (kind, rest) = text.split_once(':').ok_or_else(bad)?;
        let kind = kind_of(&HOOKS, kind).ok_or_else(bad)?;
        let (interface, direction) = match rest.rsplit_once(':') {
            Some((interface, "*")) => (interface, None),
            Some((interface, direction)) => (interface, Some(direction.parse().map_err(|_| bad())?)),
            None => (rest, None),
        };
        if kind == "xdp" && direction.is_some() {
            return Err(bad());
        }
        Ok(Self { kind: Some(kind), interface: Glob::parse(interface)?, direction, text: text.to_owned() })
    }
}

impl TargetPattern {
    /// Returns whether the pattern matches this target.
    #[must_use]
    pub fn matches(&self, kind: &str, name: &str) -> bool {
        self.kind.is_none_or(|own| own == kind) && takes_name(&self.name, name)
    }

    /// Returns whether the pattern certainly matches all targets of another pattern.
    #[must_use]
    pub fn covers(&self, kind: &str, names: &Glob) -> bool {
        self.kind.is_none_or(|own| own == kind) && self.name.covers(names)
    }
}

impl FromStr for TargetPattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let bad = || BadPattern::Target(text.to_owned());
        if text == "*" {
            return Ok(Self { kind: None, name: Glob::parse("*")?, text: text.to_owned() });
        }
        let (kind, name) = text.split_once(':').ok_or_else(bad)?;
        let kind = kind_of(&TARGETS, kind).ok_or_else(bad)?;
        Ok(Self { kind: Some(kind), name: Glob::parse(name)?, text: text.to_owned() })
    }
}

impl fmt::Display for HookPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for TargetPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn hooks_are_named_by_kind_interface_and_direction() {
        let takes =
            |pattern: &str, kind, interface| pattern.parse::<HookPattern>().unwrap().matches(kind, interface);
        let (ingress, egress) = (HookKind::Tc(Direction::Ingress), HookKind::Tc(Direction::Egress));
        let tcx = HookKind::Tcx(Direction::Egress);
        assert!(takes("xdp:eth*", HookKind::Xdp, "eth0") && !takes("xdp:eth*", ingress, "eth0"));
        assert!(takes("tc:*:ingress", ingress, "lo") && !takes("tc:*:ingress", egress, "lo"));
        assert!(takes("tc:eth0", egress, "eth0") && takes("tc:eth0:*", egress, "eth0"));
        assert!(!takes("tc:eth0", tcx, "eth0") && takes("*", tcx, "eth0"));
        for wrong in ["", "xdp", "eth0", "sk:eth0", "xdp:eth0:ingress", "tc:eth0:up", "xdp:", "tc:[:ingress"]
        {
            assert!(wrong.parse::<HookPattern>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn targets_are_named_by_type_and_name() {
        let takes = |pattern: &str, kind, name| pattern.parse::<TargetPattern>().unwrap().matches(kind, name);
        assert!(takes("uprobe:/opt/*", "uprobe", "/opt/a") && !takes("uprobe:/opt/*", "uprobe", "/usr/a"));
        assert!(
            !takes("uprobe:/opt/*", "uprobe", "/opt/../usr/a")
                && takes("uprobe:/opt/*", "uprobe", "/opt/..a")
        );
        assert!(takes("tracepoint:syscalls/*", "tracepoint", "syscalls/sys_enter_openat"));
        assert!(!takes("kprobe:*", "fentry", "tcp_connect") && takes("*", "lsm", "file_open"));
        assert!("uretprobe:x".parse::<TargetPattern>().is_err() && "x".parse::<TargetPattern>().is_err());
    }
}
