//! Programs on a node.

use bpfman_model::ProgramType;
use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id;
use super::link::{
    KprobeLinkState, KretprobeLinkState, LinksState, TcLinkState, TcxLinkState, TracepointLinkState,
    TracingState, UprobeLinkState, XdpLinkState,
};
use super::points::PointStates;
use crate::points::only_with_types;
use crate::program::{ManifestType, NamespacedProgramType, only_with};

/// State of the attachments of one program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProgramLinkStatus {
    /// Not processed yet.
    Pending,
    /// All attachments are as requested.
    Success,
    /// Some attachments failed.
    Error,
    /// The attach points could not be determined.
    UpdateAttachInfoError,
}

/// Fields of every program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProgramState {
    /// Function name in the object file.
    pub name: String,
    /// State of its attachments.
    #[schemars(with = "String")]
    pub program_link_status: ProgramLinkStatus,
    /// Kernel id, once loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "id")]
    pub program_id: Option<u32>,
}

/// A program of a cluster application on a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    crates(kube_core = "::kube_core"),
    validation = only_with("XDP", "xdp"),
    validation = only_with("TC", "tc"),
    validation = only_with("TCX", "tcx"),
    validation = only_with("FEntry", "fentry"),
    validation = only_with("FExit", "fexit"),
    validation = only_with("KProbe", "kprobe"),
    validation = only_with("KRetProbe", "kretprobe"),
    validation = only_with("UProbe", "uprobe"),
    validation = only_with("URetProbe", "uretprobe"),
    validation = only_with("TracePoint", "tracepoint"),
    validation = only_with_types("loadedFor"),
    validation = only_with_types("rawTracepoint"),
    validation = only_with_types("cgroup"),
    validation = only_with_types("netns"),
    validation = only_with_types("netfilter"),
    validation = only_with_types("kprobeMulti"),
    validation = only_with_types("uprobeMulti"),
    validation = only_with_types("perfEvent"),
    validation = only_with_types("sockmap"),
    validation = only_with_types("structOps"),
    validation = only_with_types("usdt"),
    validation = only_with_types("ksyscall"),
    validation = only_with_types("netkit"),
)]
pub struct ClusterProgramState {
    /// Fields of every program.
    #[serde(flatten)]
    pub program: ProgramState,
    /// Type of the program, which decides the block that is set.
    #[serde(rename = "type", with = "ManifestType")]
    pub program_type: ProgramType,
    /// Load target, if the application sets one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// For type XDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xdp: Option<LinksState<XdpLinkState>>,
    /// For type TC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tc: Option<LinksState<TcLinkState>>,
    /// For type TCX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcx: Option<LinksState<TcxLinkState>>,
    /// For type FEntry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fentry: Option<TracingState>,
    /// For type FExit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fexit: Option<TracingState>,
    /// For type KProbe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kprobe: Option<LinksState<KprobeLinkState>>,
    /// For type KRetProbe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kretprobe: Option<LinksState<KretprobeLinkState>>,
    /// For type UProbe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uprobe: Option<LinksState<UprobeLinkState>>,
    /// For type URetProbe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uretprobe: Option<LinksState<UprobeLinkState>>,
    /// For type TracePoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracepoint: Option<LinksState<TracepointLinkState>>,
    /// The blocks of the types that the published API does not have.
    #[serde(flatten)]
    pub points: PointStates,
}

/// A program of a namespaced application on a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    crates(kube_core = "::kube_core"),
    validation = only_with("XDP", "xdp"),
    validation = only_with("TC", "tc"),
    validation = only_with("TCX", "tcx"),
    validation = only_with("UProbe", "uprobe"),
    validation = only_with("URetProbe", "uretprobe"),
)]
pub struct NamespacedProgramState {
    /// Fields of every program.
    #[serde(flatten)]
    pub program: ProgramState,
    /// Type of the program, which decides the block that is set.
    #[serde(rename = "type")]
    pub program_type: NamespacedProgramType,
    /// For type XDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xdp: Option<LinksState<XdpLinkState>>,
    /// For type TC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tc: Option<LinksState<TcLinkState>>,
    /// For type TCX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcx: Option<LinksState<TcxLinkState>>,
    /// For type UProbe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uprobe: Option<LinksState<UprobeLinkState>>,
    /// For type URetProbe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uretprobe: Option<LinksState<UprobeLinkState>>,
}
