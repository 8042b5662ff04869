//! Network namespaces, and attach points in them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pods::{ClusterNetworkNamespaceSelector, PodSelector};

/// Network namespaces: one with a file, those of pods, or, if neither is given, the node's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceChoice {
    /// The path of a network namespace's file on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096), regex(pattern = r"^/"))]
    pub netns_path: Option<String>,
    /// In the network namespaces of these pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_namespaces: Option<ClusterNetworkNamespaceSelector>,
}

impl NamespaceChoice {
    /// Returns the selector of pods, if there is one.
    #[must_use]
    pub fn pods(&self) -> Option<PodSelector<'_>> {
        self.network_namespaces.as_ref().map(Into::into)
    }
}

/// A netfilter hook, and the position among the hook's functions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetfilterPoint {
    /// Protocol of the packets.
    pub family: PacketFamily,
    /// Hook at which the program sees them.
    pub hook: PacketPath,
    /// Lower runs first; tables of nft and iptables use 0, -100, 100, -150, -200 and -300. Numbers are unique at a
    /// hook.
    pub priority: i32,
    /// Reassemble fragments first. The priority has to be above -400 then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub defragment: bool,
}

/// A hook of netfilter in network namespaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetfilterLink {
    /// The hook.
    #[serde(flatten)]
    pub point: NetfilterPoint,
    /// Network namespaces.
    #[serde(flatten)]
    pub namespace: NamespaceChoice,
}

/// Protocols of netfilter, as nft names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PacketFamily {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl PacketFamily {
    /// Returns the name that the daemon uses too.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

/// Hooks of netfilter, as nft names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PacketPath {
    /// Packets as they arrive.
    Prerouting,
    /// Packets for the namespace itself.
    Input,
    /// Forwarded packets.
    Forward,
    /// Packets that processes of the namespace send.
    Output,
    /// Packets as they leave.
    Postrouting,
}

impl PacketPath {
    /// Returns the name that the daemon uses too.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }
}

/// A netkit device, at the end that the program was loaded for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetkitPoint {
    /// Its primary end.
    #[schemars(length(min = 1, max = 15))]
    pub interface: String,
}

/// A netkit device in network namespaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetkitLink {
    /// The device.
    #[serde(flatten)]
    pub point: NetkitPoint,
    /// Network namespaces.
    #[serde(flatten)]
    pub namespace: NamespaceChoice,
}
