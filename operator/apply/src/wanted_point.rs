//! Where a program is wanted, in the messages of one of the daemon's two services.

use std::collections::HashMap;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::point::At;
use bpfman_proto::v1::{AttachInfo, attach_info::Info};

/// An attach point.
#[derive(Clone, Debug, PartialEq)]
pub enum WantedPoint {
    /// Of a type that `bpfman.v1` has.
    Published(AttachInfo),
    /// Of another one.
    More(ext::Point),
}

impl WantedPoint {
    /// A point that `bpfman.v1` has.
    #[must_use]
    pub const fn published(info: Info) -> Self {
        Self::Published(AttachInfo { info: Some(info) })
    }

    /// Another one.
    #[must_use]
    pub fn more(at: At) -> Self {
        Self::More(ext::Point { at: Some(at), metadata: HashMap::new() })
    }

    /// The point of a link, with the link's metadata; none of a link that says none.
    #[must_use]
    pub fn of_link(link: &ext::Link) -> Option<Self> {
        let published = || Some(Self::Published(AttachInfo { info: link.attach_info.clone()?.info }));
        let point = link.point.clone().map(Self::More).or_else(published)?;
        Some(point.with_metadata(link.metadata.clone()))
    }

    /// Whether one of them has to end before the other can be made: the kernel has one program at a place of netfilter,
    /// and does not change what of a packet that sees.
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        match (self.as_more(), other.as_more()) {
            (Some(At::Netfilter(one)), Some(At::Netfilter(other))) => one.defragment != other.defragment,
            _ => false,
        }
    }

    /// As `bpfman.v1` has it, where it does.
    #[must_use]
    pub const fn as_published(&self) -> Option<&Info> {
        match self {
            Self::Published(attach) => attach.info.as_ref(),
            Self::More(_) => None,
        }
    }

    /// As `bpfman.v1` does not have it.
    #[must_use]
    pub const fn as_more(&self) -> Option<&At> {
        match self {
            Self::Published(_) => None,
            Self::More(point) => point.at.as_ref(),
        }
    }

    /// As a call takes it: one of the two fields is there.
    #[must_use]
    pub fn on_the_wire(self) -> (Option<AttachInfo>, Option<ext::Point>) {
        match self {
            Self::Published(attach) => (Some(attach), None),
            Self::More(point) => (None, Some(point)),
        }
    }

    /// The same with metadata for the link.
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

    /// Returns whether it is in a binary of user space.
    #[must_use]
    pub const fn is_in_binary(&self) -> bool {
        matches!(self.as_published(), Some(Info::UprobeAttachInfo(_)))
            || matches!(self.as_more(), Some(At::UprobeMulti(_) | At::Usdt(_)))
    }

    /// Path of the network namespace's file; none for the daemon's own, and where there is no such place.
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
