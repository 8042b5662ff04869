//! What the kernel says of a hook: everything that runs there, whoever attached it.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{IfIndex, KernelLinkId, ProgramId};

/// Everything that runs at a hook, in the order in which packets meet it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookContents {
    /// Counts the changes of the list of tcx programs; a change can be made to fail if it is no longer this. None for
    /// XDP, and before Linux 6.6.
    pub revision: Option<u64>,
    /// First to last.
    pub entries: Vec<HookEntry>,
}

/// What is attached to one hook of a control group itself, in the order in which it runs there. Programs of groups
/// above run before or after all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupContents {
    /// As [`HookContents::revision`]; none where the kernel has no such order (before Linux 6.17).
    pub revision: Option<u64>,
    /// First to last: the program, and its link; none of what `BPF_PROG_ATTACH` attached.
    pub entries: Vec<(ProgramId, Option<KernelLinkId>)>,
    /// How many of the first were attached with `BPF_F_PREORDER`, and run before all others: 0 where the list could be the same
    /// without the flag, which the kernel does not tell. None if the entries are in another order than they run in, since that
    /// is not known.
    pub preorder: Option<usize>,
}

/// One program, or a filter without one, at a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookEntry {
    /// What runs; none for filters that are no BPF programs, though an action of theirs may be one.
    pub program: Option<ProgramId>,
    /// How it is attached.
    pub via: Via,
}

impl HookEntry {
    /// Whether this link may be what attaches the program. See [`Via::XdpLink`] for what the kernel does not tell.
    #[must_use]
    pub fn may_be_link(&self, link: KernelLinkId) -> bool {
        match &self.via {
            Via::XdpLink { links, .. } => links.contains(&link),
            Via::TcxLink { link: at } => *at == link,
            Via::XdpNetlink { .. } | Via::TcxProgram | Via::Filter(_) => false,
        }
    }
}

/// What attaches a program to a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// A `bpf_link` at XDP (Linux 5.9 and later).
    XdpLink {
        /// The link. The kernel does not tell in which namespace an XDP link is: where one program is linked to
        /// interfaces of the same number in several namespaces, all of those links are here, ascending.
        links: Vec<KernelLinkId>,
        /// Where it runs.
        mode: XdpRunsIn,
    },
    /// A netlink message, as `ip link set xdp` sends it: without an owner, it stays until someone removes it.
    XdpNetlink {
        /// Where it runs.
        mode: XdpRunsIn,
    },
    /// A `bpf_link` at tcx.
    TcxLink {
        /// The link.
        link: KernelLinkId,
    },
    /// `BPF_PROG_ATTACH` at tcx: without an owner, it stays until someone detaches it.
    TcxProgram,
    /// A filter of a clsact (or ingress) qdisc. All tcx programs run before the first filter.
    Filter(FilterFacts),
}

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpRunsIn {
    /// On the card.
    Offload,
    /// In the driver.
    Native,
    /// In the network stack, after the socket buffer is made.
    Generic,
}

impl XdpRunsIn {
    /// "offload", "native" or "generic".
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offload => "offload",
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

impl fmt::Display for XdpRunsIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A filter, in the words of `tc filter show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterFacts {
    /// `pref`: lower ones run first.
    pub priority: u16,
    /// `handle`.
    pub handle: u32,
    /// `protocol`: an ethertype, 3 for all.
    pub protocol: u16,
    /// `chain`. Packets enter chain 0; they meet others only where a filter's action sends them there.
    pub chain: u32,
    /// "bpf", "flower", "u32"…
    pub kind: String,
    /// The name that was given with a BPF program.
    pub name: Option<String>,
    /// The program's answer is the verdict; else it only picks the filter's actions.
    pub direct_action: bool,
}

/// An object of the kernel that someone may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Held {
    /// A program, by itself or by a link that runs it.
    Program(ProgramId),
    /// A link.
    Link(KernelLinkId),
}

/// A process with an open descriptor of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number, as the daemon's process namespace has it.
    pub pid: u32,
    /// Its name, at most 15 bytes, free of control characters.
    pub command: String,
    /// The systemd unit or container it belongs to, as its control group is named.
    pub unit: Option<String>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceFacts {
    /// At most 15 bytes.
    pub name: String,
    /// Its number in its namespace.
    pub ifindex: IfIndex,
    /// Switched on (`ip link set up`), which does not say that there is a carrier.
    pub up: bool,
    /// "veth", "vlan"…; none for hardware and the loopback.
    pub kind: Option<String>,
}

/// A network interface with its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressedInterface {
    /// The interface.
    pub facts: InterfaceFacts,
    /// Ascending, each once.
    pub addresses: Vec<IpAddr>,
}

/// A change of a network interface, compared with what was known before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceEvent {
    /// There is a new one.
    Appeared {
        /// Name.
        name: String,
        /// Number.
        ifindex: IfIndex,
        /// Switched on.
        up: bool,
    },
    /// It was switched on or off.
    Changed {
        /// Name.
        name: String,
        /// Number.
        ifindex: IfIndex,
        /// Switched on.
        up: bool,
    },
    /// It has another name.
    Renamed {
        /// Number.
        ifindex: IfIndex,
        /// The new name.
        name: String,
    },
    /// It is gone, or moved to another namespace.
    Removed {
        /// Number.
        ifindex: IfIndex,
    },
    /// Changes came faster than they were read, and some are not known: list the interfaces again.
    Lost,
    /// The path no longer names the namespace that was being watched: drop the watch, which keeps it alive.
    NamespaceGone,
}
