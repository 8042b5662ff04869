//! Program of an application: its name, its type, and the block of that type.

use bpfman_model::ProgramType;
use kube_core::Rule;
use kube_derive::KubeSchema;
use serde::{Deserialize, Serialize};

use super::attachment::{Attachments, ClusterPackets, ClusterUprobes, NamespacedPackets, NamespacedUprobes};
use super::name;
use super::points::{PointBlocks, only_with_types, target_only_where_taken};
use super::probe::{KprobeLink, KretprobeLink, TracepointLink};
pub use super::program_type::{ManifestType, NamespacedProgramType};
use super::tc::{TcPoint, TcxPoint};
use super::tracing::Tracing;
use super::xdp::XdpPoint;

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
    validation = target_only_where_taken(),
)]
pub struct ClusterProgram {
    /// Function name in the object file.
    #[schemars(length(min = 1, max = 64), regex(pattern = name::NAME))]
    pub name: String,
    /// Type of the program, which decides the block to set. Types that are only loaded have none: SocketFilter,
    /// SkReuseport, SkReuseportMigrate, XdpDevmap, XdpCpumap, LwtIn, LwtOut, LwtXmit, LwtSeg6local, SchedAct, Syscall,
    /// LircMode2.
    #[serde(rename = "type", with = "ManifestType")]
    pub program_type: ProgramType,
    /// Load target of the program, if its section name has none or another one: a tracepoint (TpBtf), a kernel function
    /// (FModRet), a hook (Lsm, LsmCgroup, CgroupSkb, CgroupSock, CgroupSockAddr, CgroupSockopt, SkSkb), a kind of
    /// objects (Iter), an end (Netkit), `STRUCTURE.MEMBER` (StructOps). Changing it makes a new version of the
    /// programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub target: Option<String>,
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
    /// The blocks of the types that the published API does not have.
    #[serde(flatten)]
    pub points: PointBlocks,
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
    /// Type of the program, which decides the block that is set.
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
