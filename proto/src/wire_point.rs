//! Attach points in the messages of one of the daemon's two services.

use std::collections::HashMap;

use bpfman_model::{Direction, HookKind, HookName, Interface};

use crate::ext::v1 as ext;
use crate::ext::v1::point::At;
use crate::v1::{AttachInfo, TcAttachInfo, TcxAttachInfo, XdpAttachInfo, attach_info::Info};

/// Attach point in the message of one of the two services.
#[derive(Clone, Debug, PartialEq)]
pub enum WirePoint {
    /// Attach point of a type that `bpfman.v1` has, which daemons of v0.6.0 support.
    Published(Info),
    /// Attach point of another type.
    More(ext::Point),
}

impl From<Info> for WirePoint {
    fn from(info: Info) -> Self {
        Self::Published(info)
    }
}

impl From<At> for WirePoint {
    fn from(at: At) -> Self {
        Self::More(ext::Point { at: Some(at), metadata: HashMap::new() })
    }
}

impl From<&HookName> for ext::Hook {
    fn from(hook: &HookName) -> Self {
        let netns = hook.interface.netns.as_ref().map(|path| path.to_string_lossy().into_owned());
        Self {
            kind: hook.kind.name().to_owned(),
            iface: hook.interface.name.clone(),
            direction: hook.kind.direction().map_or("", Direction::name).to_owned(),
            netns: netns.unwrap_or_default(),
        }
    }
}

impl WirePoint {
    /// Returns the attach point at an interface, with the default proceed-on set.
    #[must_use]
    pub fn of_hook(kind: HookKind, interface: &Interface, priority: i32) -> Self {
        let iface = interface.name.clone();
        let netns = interface.netns.as_ref().map(|path| path.to_string_lossy().into_owned());
        let direction = kind.direction().map_or("", Direction::name).to_owned();
        Self::Published(match kind {
            HookKind::Xdp => {
                Info::XdpAttachInfo(XdpAttachInfo { priority, iface, netns, ..Default::default() })
            }
            HookKind::Tc(_) => {
                Info::TcAttachInfo(TcAttachInfo { priority, iface, netns, direction, ..Default::default() })
            }
            HookKind::Tcx(_) => {
                Info::TcxAttachInfo(TcxAttachInfo { priority, iface, netns, direction, ..Default::default() })
            }
        })
    }

    /// Returns the attach point of a link, with the link's metadata, or `None` if the link has no attach point.
    #[must_use]
    pub fn of_link(link: &ext::Link) -> Option<Self> {
        let published = || Some(Self::Published(link.attach_info.clone()?.info?));
        let point = link.point.clone().map(Self::More).or_else(published)?;
        Some(point.with_metadata(link.metadata.clone()))
    }

    /// Returns whether one point must be detached before the other is attached: netfilter allows one program
    /// per priority, and a link cannot switch reassembly of packets on or off.
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        match (self.as_more(), other.as_more()) {
            (Some(At::Netfilter(one)), Some(At::Netfilter(other))) => one.defragment != other.defragment,
            _ => false,
        }
    }

    /// Returns the message of `bpfman.v1`, if it has the type.
    #[must_use]
    pub const fn as_published(&self) -> Option<&Info> {
        match self {
            Self::Published(info) => Some(info),
            Self::More(_) => None,
        }
    }

    /// Returns the message of the extended API, if `bpfman.v1` does not have the type.
    #[must_use]
    pub const fn as_more(&self) -> Option<&At> {
        match self {
            Self::Published(_) => None,
            Self::More(point) => point.at.as_ref(),
        }
    }

    /// Returns the two fields of a call or answer, of which one is present.
    #[must_use]
    pub fn into_fields(self) -> (Option<AttachInfo>, Option<ext::Point>) {
        match self {
            Self::Published(info) => (Some(AttachInfo { info: Some(info) }), None),
            Self::More(point) => (None, Some(point)),
        }
    }

    /// Returns the attach point with metadata for the link.
    #[must_use]
    pub fn with_metadata(mut self, pairs: HashMap<String, String>) -> Self {
        match &mut self {
            Self::More(point) => point.metadata = pairs,
            Self::Published(info) => match info {
                Info::XdpAttachInfo(info) => info.metadata = pairs,
                Info::TcAttachInfo(info) => info.metadata = pairs,
                Info::TcxAttachInfo(info) => info.metadata = pairs,
                Info::TracepointAttachInfo(info) => info.metadata = pairs,
                Info::KprobeAttachInfo(info) => info.metadata = pairs,
                Info::UprobeAttachInfo(info) => info.metadata = pairs,
                Info::FentryAttachInfo(info) => info.metadata = pairs,
                Info::FexitAttachInfo(info) => info.metadata = pairs,
                Info::LsmAttachInfo(info) => info.metadata = pairs,
            },
        }
        self
    }

    /// Returns the attach point with a priority; unchanged where programs have no order.
    #[must_use]
    pub fn with_priority(mut self, priority: i32) -> Self {
        match &mut self {
            Self::Published(Info::XdpAttachInfo(info)) => info.priority = priority,
            Self::Published(Info::TcAttachInfo(info)) => info.priority = priority,
            Self::Published(Info::TcxAttachInfo(info)) => info.priority = priority,
            Self::More(ext::Point { at: Some(At::Netfilter(point)), .. }) => point.priority = priority,
            _ => {}
        }
        self
    }

    /// Returns the attach point in a network namespace, by the path of its file; unchanged if its type has none.
    #[must_use]
    pub fn with_netns(mut self, path: String) -> Self {
        match &mut self {
            Self::Published(Info::XdpAttachInfo(info)) => info.netns = Some(path),
            Self::Published(Info::TcAttachInfo(info)) => info.netns = Some(path),
            Self::Published(Info::TcxAttachInfo(info)) => info.netns = Some(path),
            Self::More(ext::Point { at: Some(at), .. }) => match at {
                At::Netns(netns) => *netns = path,
                At::Netfilter(point) => point.netns = path,
                At::Netkit(point) => point.netns = path,
                _ => {}
            },
            _ => {}
        }
        self
    }

    /// Returns whether the attach point is in a user-space binary.
    #[must_use]
    pub const fn is_in_binary(&self) -> bool {
        matches!(self.as_published(), Some(Info::UprobeAttachInfo(_)))
            || matches!(self.as_more(), Some(At::UprobeMulti(_) | At::Usdt(_)))
    }

    /// Returns the path of the network namespace; `None` for the daemon's own, and for types without namespaces.
    #[must_use]
    pub fn netns(&self) -> Option<String> {
        let path = match (self.as_published(), self.as_more()) {
            (Some(Info::XdpAttachInfo(info)), _) => info.netns.as_ref(),
            (Some(Info::TcAttachInfo(info)), _) => info.netns.as_ref(),
            (Some(Info::TcxAttachInfo(info)), _) => info.netns.as_ref(),
            (_, Some(At::Netns(path))) => Some(path),
            (_, Some(At::Netfilter(point))) => Some(&point.netns),
            (_, Some(At::Netkit(point))) => Some(&point.netns),
            _ => None,
        };
        path.filter(|path| !path.is_empty()).cloned()
    }
}
