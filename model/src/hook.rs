//! Hooks in the network stack.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Interface;
use crate::{IfIndex, VerdictFamily};

/// Direction of packets at a traffic control hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Packets that the machine receives.
    Ingress,
    /// Packets that the machine sends.
    Egress,
}

impl Direction {
    /// Returns "ingress" or "egress".
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Unknown direction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("direction \"{0}\" is neither \"ingress\" nor \"egress\"")]
pub struct UnknownDirection(pub String);

impl FromStr for Direction {
    type Err = UnknownDirection;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().to_ascii_lowercase().as_str() {
            "ingress" => Ok(Self::Ingress),
            "egress" => Ok(Self::Egress),
            _ => Err(UnknownDirection(text.to_owned())),
        }
    }
}

/// Identity of a network namespace. Inodes are reused, cookies never: both are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NetnsId {
    /// Inode of the namespace's file.
    pub inode: u64,
    /// `SO_NETNS_COOKIE`; 0 before Linux 5.14.
    pub cookie: u64,
}

/// Number of a network namespace in the table of another one. It does not keep the namespace alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NetnsNumber {
    /// Namespace that has the table.
    pub table: NetnsId,
    /// Number in that table, from 0.
    pub number: u32,
}

/// Location of a hook, as in records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "NetnsId", into = "NetnsId")]
pub enum HookNetns {
    /// Hook in this network namespace.
    In(NetnsId),
    /// Hook whose interface does not exist yet, or was removed; it has a number of its own. Records and pins
    /// store the number as the cookie of a namespace with inode 0, which no namespace has.
    Nowhere(u64),
}

impl HookNetns {
    /// Returns the namespace, if the hook is in one.
    #[must_use]
    pub const fn id(self) -> Option<NetnsId> {
        match self {
            Self::In(id) => Some(id),
            Self::Nowhere(_) => None,
        }
    }
}

impl From<NetnsId> for HookNetns {
    fn from(id: NetnsId) -> Self {
        match id {
            NetnsId { inode: 0, cookie } => Self::Nowhere(cookie),
            id => Self::In(id),
        }
    }
}

impl From<HookNetns> for NetnsId {
    fn from(netns: HookNetns) -> Self {
        match netns {
            HookNetns::In(id) => id,
            HookNetns::Nowhere(number) => Self { inode: 0, cookie: number },
        }
    }
}

/// Kind of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HookKind {
    /// XDP, before the network stack.
    Xdp,
    /// Traffic control, with a chain of this manager.
    Tc(Direction),
    /// Traffic control, with links that the kernel orders.
    Tcx(Direction),
}

impl HookKind {
    /// Returns the text of a hook in messages, whether or not the hook exists: `xdp:eth0`,
    /// `tc:eth0:ingress@/run/netns/a`.
    #[must_use]
    pub fn at(self, interface: &Interface) -> String {
        let mut text = format!("{}:{}", self.name(), interface.name);
        if let Some(direction) = self.direction() {
            text.push(':');
            text.push_str(direction.name());
        }
        if let Some(netns) = &interface.netns {
            text.push('@');
            text.push_str(&netns.display().to_string());
        }
        text
    }

    /// Returns "xdp", "tc" or "tcx".
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tc(_) => "tc",
            Self::Tcx(_) => "tcx",
        }
    }

    /// Returns the direction, if the kind has two.
    #[must_use]
    pub const fn direction(self) -> Option<Direction> {
        match self {
            Self::Xdp => None,
            Self::Tc(direction) | Self::Tcx(direction) => Some(direction),
        }
    }

    /// Returns the verdicts of programs here.
    #[must_use]
    pub const fn verdicts(self) -> VerdictFamily {
        match self {
            Self::Xdp => VerdictFamily::Xdp,
            Self::Tc(_) | Self::Tcx(_) => VerdictFamily::Tc,
        }
    }
}

/// Hook of one interface of one network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HookKey {
    /// Namespace of the interface.
    pub netns: HookNetns,
    /// Index of the interface.
    pub ifindex: IfIndex,
    /// Kind of the hook.
    pub kind: HookKind,
}

impl HookKey {
    /// Returns the file name of the hook among the pins: `<netns inode>_<ifindex>_<netns cookie>`.
    ///
    /// v0.6.0 has no cookie; but the kernel reuses inodes of namespaces at once, and indexes repeat.
    #[must_use]
    pub fn pin_stem(&self) -> String {
        let NetnsId { inode, cookie } = self.netns.into();
        format!("{inode}_{}_{cookie}", self.ifindex)
    }

    /// Converts a hook of tcx links to that of the tc chain: if the chain is attached by tcx, the kernel has
    /// both in one list. Returns any other hook unchanged.
    #[must_use]
    pub const fn of_chain(self) -> Self {
        match self.kind {
            HookKind::Tcx(direction) => Self { kind: HookKind::Tc(direction), ..self },
            HookKind::Xdp | HookKind::Tc(_) => self,
        }
    }

    /// Converts the hook of a tc chain to that of tcx links. Returns any other hook unchanged.
    #[must_use]
    pub const fn of_tcx(self) -> Self {
        match self.kind {
            HookKind::Tc(direction) => Self { kind: HookKind::Tcx(direction), ..self },
            HookKind::Xdp | HookKind::Tcx(_) => self,
        }
    }

    /// Returns the folder of the hook's pins below the daemon's bpffs.
    #[must_use]
    pub const fn pin_folder(&self) -> &'static str {
        match self.kind {
            HookKind::Xdp => "xdp",
            HookKind::Tc(Direction::Ingress) => "tc-ingress",
            HookKind::Tc(Direction::Egress) => "tc-egress",
            HookKind::Tcx(Direction::Ingress) => "tcx-ingress",
            HookKind::Tcx(Direction::Egress) => "tcx-egress",
        }
    }
}
