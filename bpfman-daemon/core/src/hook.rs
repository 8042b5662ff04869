//! Places in the network where packets meet programs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Interface;
use crate::{IfIndex, VerdictFamily};

/// Which way packets go through a traffic control hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Into the machine.
    Ingress,
    /// Out of the machine.
    Egress,
}

impl Direction {
    /// "ingress" or "egress".
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

/// A direction that is neither ingress nor egress.
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

/// A network namespace. Inode numbers are used again after a namespace is gone, cookies never: both are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NetnsId {
    /// Inode of the namespace's file.
    pub inode: u64,
    /// `SO_NETNS_COOKIE`; 0 before Linux 5.14.
    pub cookie: u64,
}

/// Number of a network namespace in the table of another one. The kernel removes it when the namespace ends, and the number
/// does not keep the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NetnsNumber {
    /// Namespace that has the table.
    pub table: NetnsId,
    /// Number in that table, from 0.
    pub number: u32,
}

/// Where a hook is, as records have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "NetnsId", into = "NetnsId")]
pub enum HookNetns {
    /// In this network namespace.
    In(NetnsId),
    /// Nowhere: it waits for its interface, or went along with it, under a number of its own. Records and pins have that
    /// as the cookie of a namespace with the inode 0, which none has.
    Nowhere(u64),
}

impl HookNetns {
    /// The namespace, if it is in one.
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

/// The kind of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HookKind {
    /// The driver's, before the network stack.
    Xdp,
    /// Traffic control with a chain of this manager.
    Tc(Direction),
    /// Traffic control with links that the kernel orders.
    Tcx(Direction),
}

impl HookKind {
    /// A hook in messages, also of one that may not be there: `xdp:eth0`, `tc:eth0:ingress@/run/netns/a`.
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

    /// "xdp", "tc" or "tcx".
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tc(_) => "tc",
            Self::Tcx(_) => "tcx",
        }
    }

    /// The direction, where there are two.
    #[must_use]
    pub const fn direction(self) -> Option<Direction> {
        match self {
            Self::Xdp => None,
            Self::Tc(direction) | Self::Tcx(direction) => Some(direction),
        }
    }

    /// The verdicts of programs here.
    #[must_use]
    pub const fn verdicts(self) -> VerdictFamily {
        match self {
            Self::Xdp => VerdictFamily::Xdp,
            Self::Tc(_) | Self::Tcx(_) => VerdictFamily::Tc,
        }
    }
}

/// One hook of one interface of one network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HookKey {
    /// The namespace of the interface.
    pub netns: HookNetns,
    /// The interface in it.
    pub ifindex: IfIndex,
    /// Which of its hooks.
    pub kind: HookKind,
}

impl HookKey {
    /// The file name that stands for the hook among the pins: `<netns inode>_<ifindex>_<netns cookie>`.
    ///
    /// v0.6.0's names end before the cookie; but inodes of namespaces come back at once, with the same indexes in them.
    #[must_use]
    pub fn pin_stem(&self) -> String {
        let NetnsId { inode, cookie } = self.netns.into();
        format!("{inode}_{}_{cookie}", self.ifindex)
    }

    /// The hook of the chain of tc programs, for one of tcx links: where chains are entered by tcx, the kernel keeps
    /// both in one list. Any other hook is answered itself.
    #[must_use]
    pub const fn of_chain(self) -> Self {
        match self.kind {
            HookKind::Tcx(direction) => Self { kind: HookKind::Tc(direction), ..self },
            HookKind::Xdp | HookKind::Tc(_) => self,
        }
    }

    /// The hook of tcx links, for one of a chain of tc programs. Any other hook is answered itself.
    #[must_use]
    pub const fn of_tcx(self) -> Self {
        match self.kind {
            HookKind::Tc(direction) => Self { kind: HookKind::Tcx(direction), ..self },
            HookKind::Xdp | HookKind::Tcx(_) => self,
        }
    }

    /// The folder of the hook's pins below the daemon's bpffs.
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
