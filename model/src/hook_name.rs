//! Hooks in the form of the command line: `xdp:eth0`, `tc:eth0:ingress`, `tcx:eth0:egress@/run/netns/blue`.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::{Direction, HookKind, Interface};

/// Hook of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookName {
    /// Kind of hook, and direction.
    pub kind: HookKind,
    /// Interface, in the network namespace of an absolute path or the daemon's own.
    pub interface: Interface,
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
        let (kind, name) = match parts[..] {
            ["xdp", iface] => (HookKind::Xdp, iface),
            ["xdp", _, ..] => return Err(bad("xdp has no direction")),
            ["tc", iface, side] => (HookKind::Tc(direction(side).map_err(bad)?), iface),
            ["tcx", iface, side] => (HookKind::Tcx(direction(side).map_err(bad)?), iface),
            ["tc" | "tcx", _] => return Err(bad("the direction is missing")),
            ["xdp" | "tc" | "tcx", ..] => return Err(bad("it has too few or too many parts")),
            _ => return Err(bad("it must begin with xdp:, tc: or tcx:")),
        };
        if name.is_empty() {
            return Err(bad("the interface is missing"));
        }
        Ok(Self { kind, interface: Interface { name: name.to_owned(), netns } })
    }
}

fn direction(name: &str) -> Result<Direction, &'static str> {
    name.parse().map_err(|_| "the direction is ingress or egress")
}

impl fmt::Display for HookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind.at(&self.interface))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsed_hook_prints_the_same_text() {
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
