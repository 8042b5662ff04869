//! One program of an application: its name, its type, and the block that goes with the type.

use kube_core::Rule;
use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attachment::{Attachments, ClusterPackets, ClusterUprobes, NamespacedPackets, NamespacedUprobes};
use super::name;
use super::probe::{KprobeLink, KretprobeLink, TracepointLink};
use super::tc::{TcPoint, TcxPoint};
use super::tracing::Tracing;
use super::xdp::XdpPoint;

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
pub enum NamespacedProgramType {
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

impl From<NamespacedProgramType> for ClusterProgramType {
    fn from(kind: NamespacedProgramType) -> Self {
        match kind {
            NamespacedProgramType::Xdp => Self::Xdp,
            NamespacedProgramType::Tc => Self::Tc,
            NamespacedProgramType::Tcx => Self::Tcx,
            NamespacedProgramType::UProbe => Self::UProbe,
            NamespacedProgramType::URetProbe => Self::URetProbe,
        }
    }
}

impl ClusterProgramType {
    /// Its name in manifests, and its block.
    #[must_use]
    pub const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Xdp => ("XDP", "xdp"),
            Self::Tc => ("TC", "tc"),
            Self::Tcx => ("TCX", "tcx"),
            Self::FEntry => ("FEntry", "fentry"),
            Self::FExit => ("FExit", "fexit"),
            Self::KProbe => ("KProbe", "kprobe"),
            Self::KRetProbe => ("KRetProbe", "kretprobe"),
            Self::UProbe => ("UProbe", "uprobe"),
            Self::URetProbe => ("URetProbe", "uretprobe"),
            Self::TracePoint => ("TracePoint", "tracepoint"),
        }
    }
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
    pub xdp: Option<ClusterPackets<XdpPoint>>,
    /// For type TC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tc: Option<ClusterPackets<TcPoint>>,
    /// For type TCX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcx: Option<ClusterPackets<TcxPoint>>,
    /// For type FEntry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fentry: Option<Tracing>,
    /// For type FExit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fexit: Option<Tracing>,
    /// For type KProbe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kprobe: Option<Attachments<KprobeLink>>,
    /// For type KRetProbe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kretprobe: Option<Attachments<KretprobeLink>>,
    /// For type UProbe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uprobe: Option<ClusterUprobes>,
    /// For type URetProbe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uretprobe: Option<ClusterUprobes>,
    /// For type TracePoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracepoint: Option<Attachments<TracepointLink>>,
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
pub struct NamespacedProgram {
    /// Function name in the object file.
    #[schemars(length(min = 1, max = 64), regex(pattern = name::NAME))]
    pub name: String,
    /// Which of the blocks is there.
    #[serde(rename = "type")]
    pub program_type: NamespacedProgramType,
    /// For type XDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xdp: Option<NamespacedPackets<XdpPoint>>,
    /// For type TC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tc: Option<NamespacedPackets<TcPoint>>,
    /// For type TCX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcx: Option<NamespacedPackets<TcxPoint>>,
    /// For type UProbe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uprobe: Option<NamespacedUprobes>,
    /// For type URetProbe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uretprobe: Option<NamespacedUprobes>,
}
