//! Types that the blocks of all program types share. The scopes differ in the pods that an attachment may select.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::pods::{
    ClusterContainerSelector, ClusterNetworkNamespaceSelector, ContainerSelector, NetworkNamespaceSelector,
};
use crate::probe::UprobePoint;

/// The block of a program: its attachments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound(deserialize = "A: DeserializeOwned"))]
pub struct Attachments<A> {
    /// Attach points; loaded but not attached if empty. May change at any time.
    #[serde(default = "no_links::<A>", skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<A>,
}

/// A function, because plain `default` would require `A: Default`.
fn no_links<A>() -> Vec<A> {
    Vec::new()
}

/// One attachment for each interface selected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    bound(serialize = "P: Serialize, S: Selection", deserialize = "P: DeserializeOwned, S: Selection")
)]
pub struct PacketAttachment<P, S> {
    /// Fields of both scopes.
    #[serde(flatten)]
    pub point: P,
    /// In the network namespaces of these pods; absent, where that is allowed: in the node's own.
    #[serde(skip_serializing_if = "Selection::is_absent")]
    pub network_namespaces: S,
}

/// A user-space function, in containers or on the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "S: Selection")]
pub struct UprobeAttachment<S> {
    /// Fields of both scopes.
    #[serde(flatten)]
    pub point: UprobePoint,
    /// In these containers; absent, where that is allowed: on the node.
    #[serde(skip_serializing_if = "Selection::is_absent")]
    pub containers: S,
}

/// Selector of the pods, or containers, of an attachment.
pub trait Selection: Serialize + DeserializeOwned {
    /// Returns whether there is no selector, so that the attachment is on the node itself.
    fn is_absent(&self) -> bool {
        false
    }
}

impl Selection for NetworkNamespaceSelector {}
impl Selection for ContainerSelector {}
impl<S: Serialize + DeserializeOwned> Selection for Option<S> {
    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

/// Packet attachments of a cluster application.
pub type ClusterPackets<P> = Attachments<PacketAttachment<P, Option<ClusterNetworkNamespaceSelector>>>;
/// Packet attachments of a namespaced application.
pub type NamespacedPackets<P> = Attachments<PacketAttachment<P, NetworkNamespaceSelector>>;
/// Attachments to user-space functions of a cluster application.
pub type ClusterUprobes = Attachments<UprobeAttachment<Option<ClusterContainerSelector>>>;
/// Attachments to user-space functions of a namespaced application.
pub type NamespacedUprobes = Attachments<UprobeAttachment<ContainerSelector>>;

impl<P> NamespacedPackets<P> {
    /// Converts to the equivalent of a cluster application, with pods selected in this namespace only.
    #[must_use]
    pub fn within(self, namespace: &str) -> ClusterPackets<P> {
        let within = |link: PacketAttachment<P, NetworkNamespaceSelector>| PacketAttachment {
            point: link.point,
            network_namespaces: Some(ClusterNetworkNamespaceSelector {
                namespace: Some(namespace.to_owned()),
                pods: link.network_namespaces.pods,
            }),
        };
        Attachments { links: self.links.into_iter().map(within).collect() }
    }
}

impl NamespacedUprobes {
    /// Converts to the equivalent of a cluster application, with pods selected in this namespace only.
    #[must_use]
    pub fn within(self, namespace: &str) -> ClusterUprobes {
        let within = |link: UprobeAttachment<ContainerSelector>| UprobeAttachment {
            point: link.point,
            containers: Some(ClusterContainerSelector {
                namespace: Some(namespace.to_owned()),
                pods: link.containers.pods,
                container_names: link.containers.container_names,
            }),
        };
        Attachments { links: self.links.into_iter().map(within).collect() }
    }
}
