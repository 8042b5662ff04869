//! Network namespaces, and attach points in them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pods::{ClusterNetworkNamespaceSelector, PodSelector};

/// Which network namespaces: one with a file, those of pods, or, where neither is given, the node's own.
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

/// A hook of netfilter, and when among all that is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetfilterPoint {
    /// Packets of which protocol.
    pub family: PacketFamily,
    /// Where they are seen.
    pub hook: PacketPath,
    /// The least runs first; tables of nft and iptables take 0, -100, 100, -150, -200 and -300. No two have one number.
    pub priority: i32,
    /// Put fragments together first. The priority is then above -400.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub defragment: bool,
}

/// A hook of netfilter in network namespaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetfilterLink {
    /// The hook.
    #[serde(flatten)]
    pub point: NetfilterPoint,
    /// In which namespaces.
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
    /// As they arrive.
    Prerouting,
    /// For the namespace itself.
    Input,
    /// Passed on.
    Forward,
    /// Made in the namespace.
    Output,
    /// As they leave.
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
    /// In which namespaces.
    #[serde(flatten)]
    pub namespace: NamespaceChoice,
}
