//! Hooks in the form of the command line: `xdp:eth0`, `tc:eth0:ingress`, `tcx:eth0:egress@/run/netns/blue`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bpfman_proto::ext::v1 as ext;

/// Hook of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookName {
    /// Kind of hook, and direction.
    pub point: HookPoint,
    /// Name of the interface.
    pub iface: String,
    /// Absolute path of a network namespace file; none for the daemon's own.
    pub netns: Option<PathBuf>,
}

/// Kind of a hook with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPoint {
    /// XDP: packets as the driver receives them.
    Xdp,
    /// TC: traffic control, chained by the daemon.
    Tc(InterfaceSide),
    /// tcx: traffic control, chained by the kernel.
    Tcx(InterfaceSide),
}

/// Side of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum InterfaceSide {
    /// Packets that come in.
    Ingress,
    /// Packets that go out.
    Egress,
}

impl InterfaceSide {
    /// Returns the name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// Error of a text that is not a hook.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a hook: {why} (write xdp:IFACE, tc:IFACE:ingress or tcx:IFACE:egress, with @/PATH for a network namespace)"
)]
pub struct BadHook {
    /// Rejected text.
    pub text: String,
    /// Defect of the text.
    pub why: &'static str,
}

impl FromStr for HookName {
    type Err = BadHook;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |why| BadHook { text: text.to_owned(), why };
        // The kernel allows `@` in interface names, but never `/`: a path marks the end of the name.
        let (place, netns) = match text.split_once("@/") {
            Some((place, rest)) if !rest.is_empty() => (place, Some(Path::new("/").join(rest))),
            Some(_) => return Err(bad("the network namespace is missing after @")),
            None if text.contains('/') => return Err(bad("the network namespace must be an absolute path")),
            None => (text, None),
        };
        let parts: Vec<&str> = place.split(':').collect();
        let (point, iface) = match parts[..] {
            ["xdp", iface] => (HookPoint::Xdp, iface),
            ["xdp", _, ..] => return Err(bad("xdp has no direction")),
            ["tc", iface, side] => (HookPoint::Tc(direction(side).map_err(bad)?), iface),
            ["tcx", iface, side] => (HookPoint::Tcx(direction(side).map_err(bad)?), iface),
            ["tc" | "tcx", _] => return Err(bad("the direction is missing")),
            ["xdp" | "tc" | "tcx", ..] => return Err(bad("it has too few or too many parts")),
            _ => return Err(bad("it must begin with xdp:, tc: or tcx:")),
        };
        if iface.is_empty() {
            return Err(bad("the interface is missing"));
        }
        Ok(Self { point, iface: iface.to_owned(), netns })
    }
}

fn direction(name: &str) -> Result<InterfaceSide, &'static str> {
    match name {
        "ingress" => Ok(InterfaceSide::Ingress),
        "egress" => Ok(InterfaceSide::Egress),
        _ => Err("the direction is ingress or egress"),
    }
}

impl fmt::Display for HookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.point {
            HookPoint::Xdp => write!(f, "xdp:{}", self.iface)?,
            HookPoint::Tc(side) => write!(f, "tc:{}:{}", self.iface, side.name())?,
            HookPoint::Tcx(side) => write!(f, "tcx:{}:{}", self.iface, side.name())?,
        }
        match &self.netns {
            Some(path) => write!(f, "@{}", path.display()),
            None => Ok(()),
        }
    }
}

impl From<&HookName> for ext::Hook {
    fn from(hook: &HookName) -> Self {
        let (kind, direction) = match hook.point {
            HookPoint::Xdp => ("xdp", ""),
            HookPoint::Tc(side) => ("tc", side.name()),
            HookPoint::Tcx(side) => ("tcx", side.name()),
        };
        let netns = hook.netns.as_ref().map(|path| path.to_string_lossy().into_owned());
        Self {
            kind: kind.to_owned(),
            iface: hook.iface.clone(),
            direction: direction.to_owned(),
            netns: netns.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_parsed_prints_the_same() {
        for text in [
            "xdp:eth0",
            "tc:eth0:ingress",
            "tc:eth0:egress",
            "tcx:veth-1.2:egress",
            "xdp:eth0@/run/netns/blue",
            "tcx:eth0:ingress@/proc/7/ns/net",
            "xdp:odd@name",
            "xdp:odd@name@/run/netns/blue",
        ] {
            assert_eq!(text.parse::<HookName>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn the_wire_form_keeps_every_part() {
        let hook: HookName = "tc:eth0:egress@/run/netns/blue".parse().unwrap();
        let wire = ext::Hook::from(&hook);
        assert_eq!((wire.kind.as_str(), wire.iface.as_str()), ("tc", "eth0"));
        assert_eq!((wire.direction.as_str(), wire.netns.as_str()), ("egress", "/run/netns/blue"));
    }

    #[test]
    fn each_mistake_is_named() {
        for (text, why) in [
            ("eth0", "it must begin with xdp:, tc: or tcx:"),
            ("xdp", "it has too few or too many parts"),
            ("xdp:", "the interface is missing"),
            ("xdp:eth0:ingress", "xdp has no direction"),
            ("tc:eth0", "the direction is missing"),
            ("tc:eth0:in", "the direction is ingress or egress"),
            ("tc::ingress", "the interface is missing"),
            ("tcx:eth0:ingress:x", "it has too few or too many parts"),
            ("xdp:eth0@netns/blue", "the network namespace must be an absolute path"),
            ("xdp:eth0@/", "the network namespace is missing after @"),
        ] {
            assert_eq!(text.parse::<HookName>().unwrap_err().why, why, "{text}");
        }
    }
}
