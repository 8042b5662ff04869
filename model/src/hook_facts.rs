//! Kernel's description of a hook: all programs there, whatever attached them.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{IfIndex, KernelLinkId, ProgramId};

/// Programs and filters at a hook, in the order in which packets reach them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookContents {
    /// Revision of the list of tcx programs, for conditional changes. `None` for XDP, and before Linux 6.6.
    pub revision: Option<u64>,
    /// Entries, first to last.
    pub entries: Vec<HookEntry>,
}

/// Programs attached to one hook of one cgroup itself, in order. Programs of parent cgroups run before or after all of
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupContents {
    /// Id of the cgroup.
    pub id: u64,
    /// Revision as in [`HookContents::revision`]; `None` if the kernel has no such order (before Linux 6.17).
    pub revision: Option<u64>,
    /// Programs first to last, each with its link; `None` for one that `BPF_PROG_ATTACH` attached.
    pub entries: Vec<(ProgramId, Option<KernelLinkId>)>,
    /// Number of leading entries that were attached with `BPF_F_PREORDER`, and so run before all others. It
    /// is derived from the order, because the kernel does not report the flag: 0 if the list could be the
    /// same without it; `None` if the order in which the entries run is unknown.
    pub preorder: Option<usize>,
    /// Programs of cgroups above that run before all entries: each has `BPF_F_PREORDER`. Empty if `preorder` is `None`.
    pub above_first: Vec<ProgramId>,
    /// Other programs of cgroups above. They run after all entries.
    pub above_last: Vec<ProgramId>,
}

/// Program, or filter without one, at a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookEntry {
    /// Program; `None` for filters that are no BPF programs, though one of their actions may be one.
    pub program: Option<ProgramId>,
    /// Kind of the attachment.
    pub via: HookAttachment,
}

impl HookEntry {
    /// Returns whether this may be the link of the program. [`HookAttachment::XdpLink`] may have several.
    #[must_use]
    pub fn may_be_link(&self, link: KernelLinkId) -> bool {
        match &self.via {
            HookAttachment::XdpLink { links, .. } => links.contains(&link),
            HookAttachment::TcxLink { link: at } => *at == link,
            HookAttachment::XdpNetlink { .. } | HookAttachment::TcxProgram | HookAttachment::Filter(_) => {
                false
            }
        }
    }
}

/// Attachment of a program to a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookAttachment {
    /// A `bpf_link` at XDP (Linux 5.9 and later).
    XdpLink {
        /// Candidates for the link, ascending. There are several if one program is linked to interfaces of
        /// the same index in several namespaces: the kernel does not report the namespace of an XDP link.
        links: Vec<KernelLinkId>,
        /// Place where the program runs.
        mode: XdpRunsIn,
    },
    /// Netlink message, as `ip link set xdp` sends it: without an owner, it stays until someone removes it.
    XdpNetlink {
        /// Place where the program runs.
        mode: XdpRunsIn,
    },
    /// A `bpf_link` at tcx.
    TcxLink {
        /// Id of the link.
        link: KernelLinkId,
    },
    /// `BPF_PROG_ATTACH` at tcx: without an owner, it stays until someone detaches it.
    TcxProgram,
    /// Filter of a clsact (or ingress) qdisc. All tcx programs run before the first filter.
    Filter(FilterFacts),
}

/// Place where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpRunsIn {
    /// Network card.
    Offload,
    /// Driver.
    Native,
    /// Network stack, after the socket buffer is allocated.
    Generic,
}

impl XdpRunsIn {
    /// Returns "offload", "native" or "generic".
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

/// Filter, with the terms of `tc filter show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterFacts {
    /// `pref`: lower ones run first.
    pub priority: u16,
    /// `handle`.
    pub handle: u32,
    /// `protocol`: an ethertype, 3 for all.
    pub protocol: u16,
    /// `chain`. Packets enter chain 0, and others only by an action of a filter.
    pub chain: u32,
    /// Kind of the filter: "bpf", "flower", "u32"…
    pub kind: String,
    /// Name that was assigned to a BPF program at its attachment.
    pub name: Option<String>,
    /// True if the program returns the verdict; else it only selects the filter's actions.
    pub direct_action: bool,
}

/// Kernel object that a process may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Held {
    /// Program, by itself or by a link that runs it.
    Program(ProgramId),
    /// A link.
    Link(KernelLinkId),
}

/// Process with an open descriptor of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// PID in the daemon's PID namespace.
    pub pid: u32,
    /// Command name, at most 15 bytes, without control characters.
    pub command: String,
    /// systemd unit or container of the process, as its cgroup is named.
    pub unit: Option<String>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceFacts {
    /// Name, at most 15 bytes.
    pub name: String,
    /// Alternative names (`ip link property add … altname`), each of up to 127 bytes.
    pub other_names: Vec<String>,
    /// Index in its namespace.
    pub ifindex: IfIndex,
    /// True if it is switched on (`ip link set up`); that does not imply a carrier.
    pub up: bool,
    /// "veth", "vlan"…; `None` for hardware and the loopback.
    pub kind: Option<String>,
}

impl InterfaceFacts {
    /// Returns all names, the first one first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.other_names).map(String::as_str)
    }

    /// Returns whether the interface has this name.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.names().any(|own| own == name)
    }
}

/// A network interface with its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressedInterface {
    /// Facts about the interface.
    pub facts: InterfaceFacts,
    /// Addresses, ascending, each once.
    pub addresses: Vec<IpAddr>,
}

/// Change of a network interface, compared with the state known before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceEvent {
    /// New interface.
    Appeared {
        /// Name of the interface.
        name: String,
        /// Index of the interface.
        ifindex: IfIndex,
        /// True if it is switched on.
        up: bool,
    },
    /// Interface that was switched on or off.
    Changed {
        /// Name of the interface.
        name: String,
        /// Index of the interface.
        ifindex: IfIndex,
        /// True if it is switched on.
        up: bool,
    },
    /// Interface with a new name.
    Renamed {
        /// Index of the interface.
        ifindex: IfIndex,
        /// New name.
        name: String,
    },
    /// Interface that was removed, or moved to another namespace.
    Removed {
        /// Index of the interface.
        ifindex: IfIndex,
    },
    /// Loss of changes, which came faster than they were read: list the interfaces again.
    Lost,
    /// Path that no longer names the watched namespace: drop the watch, which keeps that namespace alive.
    NamespaceGone,
}
