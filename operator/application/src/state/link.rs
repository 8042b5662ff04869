//! Attachments on a node.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id;
use crate::interface::TrafficDirection;
use crate::name;
use crate::tc::TcProceedOn;
use crate::xdp::XdpProceedOn;

/// State of one attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkStatus {
    /// The daemon has the attachment.
    Attached,
    /// The daemon does not have the attachment.
    NotAttached,
    /// The daemon rejected the attachment.
    AttachError,
    /// The daemon refused to remove the attachment.
    DetachError,
}

/// Fields of every attachment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkState {
    /// True if the application still requests it.
    pub should_attach: bool,
    /// Made by the agent; the link's metadata carries it.
    pub uuid: String,
    /// The daemon's id, once attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "id")]
    pub link_id: Option<u32>,
    /// State of the attachment.
    #[schemars(with = "String")]
    pub link_status: LinkStatus,
}

/// On XDP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct XdpLinkState {
    /// Fields of every attachment.
    #[serde(flatten)]
    pub link: LinkState,
    /// Network interface.
    pub interface_name: String,
    /// Network namespace file; absent for the node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns_path: Option<String>,
    /// Lower runs earlier.
    #[schemars(range(min = 0, max = 1000))]
    pub priority: i32,
    /// Verdicts after which the next program runs.
    pub proceed_on: Vec<XdpProceedOn>,
}

/// On TCX.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcxLinkState {
    /// Fields of every attachment.
    #[serde(flatten)]
    pub link: LinkState,
    /// Network interface.
    pub interface_name: String,
    /// Network namespace file; absent for the node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns_path: Option<String>,
    /// Side of the interface.
    pub direction: TrafficDirection,
    /// Lower runs earlier.
    #[schemars(range(min = 0, max = 1000))]
    pub priority: i32,
}

/// On TC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcLinkState {
    /// Fields shared with TCX.
    #[serde(flatten)]
    pub at: TcxLinkState,
    /// Verdicts after which the next program runs.
    pub proceed_on: Vec<TcProceedOn>,
}

/// On a kernel function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KprobeLinkState {
    /// Fields of every attachment.
    #[serde(flatten)]
    pub link: LinkState,
    /// Kernel function.
    pub function: String,
    /// Bytes from its start.
    #[serde(default)]
    pub offset: i64,
}

/// On the return from a kernel function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KretprobeLinkState {
    /// Fields of every attachment.
    #[serde(flatten)]
    pub link: LinkState,
    /// Kernel function.
    pub function: String,
}

/// On a trace point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TracepointLinkState {
    /// Fields of every attachment.
    #[serde(flatten)]
    pub link: LinkState,
    /// `category/name`.
    pub name: String,
}

/// On a user-space function, or the return from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UprobeLinkState {
    /// Fields of every attachment.
    #[serde(flatten)]
    pub link: LinkState,
    /// Function; absent: the offset counts from the start of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Bytes from its start.
    #[serde(default)]
    pub offset: i64,
    /// Program or library.
    pub target: String,
    /// Only this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Process whose mount namespace the path is resolved in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_pid: Option<i32>,
}

/// Attachments of a program of one type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound(deserialize = "L: serde::de::DeserializeOwned"))]
pub struct LinksState<L> {
    /// One entry an attachment.
    #[serde(default = "no_links::<L>", skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<L>,
}

/// A function, because plain `default` would require `L: Default`.
fn no_links<L>() -> Vec<L> {
    Vec::new()
}

/// Attachment of an fentry or fexit program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TracingState {
    /// Kernel function.
    #[schemars(length(min = 1, max = 64), regex(pattern = name::NAME))]
    pub function: String,
    /// At most one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1))]
    pub links: Vec<LinkState>,
}
