//! Attach points, in the messages of one of the daemon's two services.

use std::collections::HashMap;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::point::At;
use bpfman_proto::v1::{AttachInfo, attach_info::Info};

/// Attach point.
#[derive(Clone, Debug, PartialEq)]
pub enum WantedPoint {
    /// Attach point of a type that `bpfman.v1` has.
    Published(AttachInfo),
    /// Attach point of another type.
    More(ext::Point),
}

impl WantedPoint {
    /// Returns an attach point of a type that `bpfman.v1` has.
    #[must_use]
    pub const fn published(info: Info) -> Self {
        Self::Published(AttachInfo { info: Some(info) })
    }

    /// Returns an attach point of another type, without metadata.
    #[must_use]
    pub fn more(at: At) -> Self {
        Self::More(ext::Point { at: Some(at), metadata: HashMap::new() })
    }

    /// Returns the attach point of a link, with the link's metadata, or `None` if the link has no attach point.
    #[must_use]
    pub fn of_link(link: &ext::Link) -> Option<Self> {
        let published = || Some(Self::Published(AttachInfo { info: link.attach_info.clone()?.info }));
        let point = link.point.clone().map(Self::More).or_else(published)?;
        Some(point.with_metadata(link.metadata.clone()))
    }

    /// Returns whether one must be detached before the other is attached: netfilter allows one program per priority.
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
            Self::Published(attach) => attach.info.as_ref(),
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

    /// Returns the two fields of a call, of which one is present.
    #[must_use]
    pub fn on_the_wire(self) -> (Option<AttachInfo>, Option<ext::Point>) {
        match self {
            Self::Published(attach) => (Some(attach), None),
            Self::More(point) => (None, Some(point)),
        }
    }

    /// Returns the attach point with metadata for the link.
    #[must_use]
    pub fn with_metadata(mut self, pairs: HashMap<String, String>) -> Self {
        match &mut self {
            Self::More(point) => point.metadata = pairs,
            Self::Published(AttachInfo { info: None }) => {}
            Self::Published(AttachInfo { info: Some(info) }) => match info {
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

    /// Returns whether it is in a user-space binary.
    #[must_use]
    pub const fn is_in_binary(&self) -> bool {
        matches!(self.as_published(), Some(Info::UprobeAttachInfo(_)))
            || matches!(self.as_more(), Some(At::UprobeMulti(_) | At::Usdt(_)))
    }

    /// Returns the path of the network namespace's file; `None` for the daemon's own, or without a namespace.
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
