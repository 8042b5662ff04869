//! One program of an application: its name, its type, and the block that goes with the type.

use kube_core::Rule;
use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name;
use super::probe::{ClusterUprobe, Kprobe, Kretprobe, Tracepoint, Uprobe};
use super::tc::{ClusterTc, ClusterTcx, Tc, Tcx};
use super::tracing::Tracing;
use super::xdp::{ClusterXdp, Xdp};

/// Types of programs of cluster applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClusterProgramType {
    /// Block `xdp`.
    #[serde(rename = "XDP")]
    Xdp,
    /// Block `tc`.
    #[serde(rename = "TC")]
    Tc,
    /// Block `tcx`.
    #[serde(rename = "TCX")]
    Tcx,
    /// Block `fentry`.
    FEntry,
    /// Block `fexit`.
    FExit,
    /// Block `kprobe`.
    KProbe,
    /// Block `kretprobe`.
    KRetProbe,
    /// Block `uprobe`.
    UProbe,
    /// Block `uretprobe`.
    URetProbe,
    /// Block `tracepoint`.
    TracePoint,
}

/// Types of programs of namespaced applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProgramType {
    /// Block `xdp`.
    #[serde(rename = "XDP")]
    Xdp,
    /// Block `tc`.
    #[serde(rename = "TC")]
    Tc,
    /// Block `tcx`.
    #[serde(rename = "TCX")]
    Tcx,
    /// Block `uprobe`.
    UProbe,
    /// Block `uretprobe`.
    URetProbe,
}

/// A block is there where the type is its own, and only there.
pub(crate) fn only_with(program_type: &str, block: &str) -> Rule {
    Rule::new(format!("(self.type == '{program_type}') == has(self.{block})"))
        .message(&*format!("the block {block} belongs to type {program_type}, and is needed there"))
}

/// A program of a cluster application.
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
)]
pub struct ClusterProgram {
    /// Function name in the object file.
    #[schemars(length(min = 1, max = 64), regex(pattern = name::NAME))]
    pub name: String,
    /// Which of the blocks is there.
    #[serde(rename = "type")]
    pub program_type: ClusterProgramType,
    /// For type XDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xdp: Option<ClusterXdp>,
    /// For type TC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tc: Option<ClusterTc>,
    /// For type TCX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcx: Option<ClusterTcx>,
    /// For type FEntry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fentry: Option<Tracing>,
    /// For type FExit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fexit: Option<Tracing>,
    /// For type KProbe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kprobe: Option<Kprobe>,
    /// For type KRetProbe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kretprobe: Option<Kretprobe>,
    /// For type UProbe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uprobe: Option<ClusterUprobe>,
    /// For type URetProbe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uretprobe: Option<ClusterUprobe>,
    /// For type TracePoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracepoint: Option<Tracepoint>,
}

/// A program of a namespaced application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    crates(kube_core = "::kube_core"),
    validation = only_with("XDP", "xdp"),
    validation = only_with("TC", "tc"),
    validation = only_with("TCX", "tcx"),
    validation = only_with("UProbe", "uprobe"),
    validation = only_with("URetProbe", "uretprobe"),
)]
pub struct Program {
    /// Function name in the object file.
    #[schemars(length(min = 1, max = 64), regex(pattern = name::NAME))]
    pub name: String,
    /// Which of the blocks is there.
    #[serde(rename = "type")]
    pub program_type: ProgramType,
    /// For type XDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xdp: Option<Xdp>,
    /// For type TC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tc: Option<Tc>,
    /// For type TCX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcx: Option<Tcx>,
    /// For type UProbe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uprobe: Option<Uprobe>,
    /// For type URetProbe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uretprobe: Option<Uprobe>,
}
