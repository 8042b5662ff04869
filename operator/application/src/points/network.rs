//! Network namespaces, and attach points in them.

use bpfman_model::{NetfilterFamily, NetfilterHook};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
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
    #[schemars(schema_with = "families")]
    pub family: NetfilterFamily,
    /// Hook at which the program sees them.
    #[schemars(schema_with = "hooks")]
    pub hook: NetfilterHook,
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

fn families(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["ipv4", "ipv6"] })
}

fn hooks(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["prerouting", "input", "forward", "output", "postrouting"] })
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
