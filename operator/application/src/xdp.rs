//! XDP attachments.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::interface::InterfaceSelector;
use super::place::{LinkOrder, OnUnavailable};
use super::pods::{ClusterNetworkNamespaceSelector, NetworkNamespaceSelector};

/// Attachments of an XDP program of a cluster application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterXdp {
    /// Where to attach; loaded but not attached if empty. May change at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<ClusterXdpLink>,
}

/// Attachments of an XDP program of a namespaced application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Xdp {
    /// Where to attach; loaded but not attached if empty. May change at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<XdpLink>,
}

/// One attachment for each interface selected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterXdpLink {
    /// What both scopes have.
    #[serde(flatten)]
    pub point: XdpPoint,
    /// In the network namespaces of these pods; absent: in the node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_namespaces: Option<ClusterNetworkNamespaceSelector>,
}

/// One attachment for each interface selected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct XdpLink {
    /// What both scopes have.
    #[serde(flatten)]
    pub point: XdpPoint,
    /// In the network namespaces of these pods.
    pub network_namespaces: NetworkNamespaceSelector,
}

/// Interface, place and verdicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct XdpPoint {
    /// Which interfaces.
    pub interface_selector: InterfaceSelector,
    /// Lower runs earlier; absent counts as 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub priority: Option<i32>,
    /// Verdicts after which the next program runs.
    #[serde(default = "default_proceed_on")]
    pub proceed_on: Vec<XdpProceedOn>,
    /// Place by intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<LinkOrder>,
    /// What becomes of a pod for which this attachment cannot be made.
    #[serde(default)]
    pub on_unavailable: OnUnavailable,
}

/// What holds unless the user says otherwise.
fn default_proceed_on() -> Vec<XdpProceedOn> {
    vec![XdpProceedOn::Pass, XdpProceedOn::DispatcherReturn]
}

/// Verdicts of XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum XdpProceedOn {
    /// 0.
    Aborted,
    /// 1.
    Drop,
    /// 2.
    Pass,
    /// 3.
    #[serde(rename = "TX")]
    Tx,
    /// 4.
    ReDirect,
    /// 31: what a dispatcher returns for a program that did not run.
    DispatcherReturn,
}

impl XdpProceedOn {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::Aborted => 0,
            Self::Drop => 1,
            Self::Pass => 2,
            Self::Tx => 3,
            Self::ReDirect => 4,
            Self::DispatcherReturn => 31,
        }
    }
}
