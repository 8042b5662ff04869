//! TC and TCX attachments.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::interface::{Direction, InterfaceSelector};
use super::place::{LinkOrder, OnUnavailable};
use super::pods::{ClusterNetworkNamespaceSelector, NetworkNamespaceSelector};

/// Attachments of a TC program of a cluster application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterTc {
    /// Where to attach; loaded but not attached if empty. May change at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<ClusterTcLink>,
}

/// Attachments of a TC program of a namespaced application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tc {
    /// Where to attach; loaded but not attached if empty. May change at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<TcLink>,
}

/// Attachments of a TCX program of a cluster application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterTcx {
    /// Where to attach; loaded but not attached if empty. May change at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<ClusterTcxLink>,
}

/// Attachments of a TCX program of a namespaced application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tcx {
    /// Where to attach; loaded but not attached if empty. May change at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<TcxLink>,
}

/// One attachment for each interface selected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterTcLink {
    /// What both scopes have.
    #[serde(flatten)]
    pub point: TcPoint,
    /// In the network namespaces of these pods; absent: in the node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_namespaces: Option<ClusterNetworkNamespaceSelector>,
}

/// One attachment for each interface selected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcLink {
    /// What both scopes have.
    #[serde(flatten)]
    pub point: TcPoint,
    /// In the network namespaces of these pods.
    pub network_namespaces: NetworkNamespaceSelector,
}

/// One attachment for each interface selected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterTcxLink {
    /// What both scopes have.
    #[serde(flatten)]
    pub point: TcxPoint,
    /// In the network namespaces of these pods; absent: in the node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_namespaces: Option<ClusterNetworkNamespaceSelector>,
}

/// One attachment for each interface selected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcxLink {
    /// What both scopes have.
    #[serde(flatten)]
    pub point: TcxPoint,
    /// In the network namespaces of these pods.
    pub network_namespaces: NetworkNamespaceSelector,
}

/// Interface, side and place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcxPoint {
    /// Which interfaces.
    pub interface_selector: InterfaceSelector,
    /// Which side of them.
    pub direction: Direction,
    /// Lower runs earlier; absent counts as 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub priority: Option<i32>,
    /// Place by intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<LinkOrder>,
    /// What becomes of a pod for which this attachment cannot be made.
    #[serde(default)]
    pub on_unavailable: OnUnavailable,
}

/// Interface, side, place and verdicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcPoint {
    /// Interface, side and place.
    #[serde(flatten)]
    pub at: TcxPoint,
    /// Verdicts after which the next program runs.
    #[serde(default = "default_proceed_on")]
    pub proceed_on: Vec<TcProceedOn>,
}

/// What holds unless the user says otherwise.
fn default_proceed_on() -> Vec<TcProceedOn> {
    vec![TcProceedOn::Pipe, TcProceedOn::DispatcherReturn]
}

/// Verdicts of TC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TcProceedOn {
    /// -1.
    UnSpec,
    /// 0.
    #[serde(rename = "OK")]
    Ok,
    /// 1.
    ReClassify,
    /// 2.
    Shot,
    /// 3.
    Pipe,
    /// 4.
    Stolen,
    /// 5.
    Queued,
    /// 6.
    Repeat,
    /// 7.
    ReDirect,
    /// 8.
    Trap,
    /// 30: what a dispatcher returns for a program that did not run.
    DispatcherReturn,
}

impl TcProceedOn {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::UnSpec => -1,
            Self::Ok => 0,
            Self::ReClassify => 1,
            Self::Shot => 2,
            Self::Pipe => 3,
            Self::Stolen => 4,
            Self::Queued => 5,
            Self::Repeat => 6,
            Self::ReDirect => 7,
            Self::Trap => 8,
            Self::DispatcherReturn => 30,
        }
    }
}
