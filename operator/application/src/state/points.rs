//! Attachments on a node that the published API does not have: as in the spec, but resolved.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::link::{LinkState, LinksState};
use crate::points::cgroup::CgroupPoint;
use crate::points::kernel::{KprobeMultiLink, KsyscallLink, PerfEventLink, RawTracepointLink};
use crate::points::maps::{SockmapLink, StructOpsLink};
use crate::points::network::{NetfilterPoint, NetkitPoint};
use crate::points::user::{UprobeMultiPoint, UsdtPoint};

/// One attachment, and its attach point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PointState<P> {
    /// Fields of every attachment.
    #[serde(flatten)]
    pub link: LinkState,
    /// Attach point.
    #[serde(flatten)]
    pub point: P,
}

/// A network namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceState {
    /// Network namespace file; absent for the node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns_path: Option<String>,
}

/// Attach point in a network namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InNamespace<P> {
    /// The place.
    #[serde(flatten)]
    pub point: P,
    /// The namespace.
    #[serde(flatten)]
    pub namespace: NamespaceState,
}

/// Attach point in a binary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InProcess<P> {
    /// The place.
    #[serde(flatten)]
    pub point: P,
    /// Process whose mount namespace the path is resolved in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_pid: Option<i32>,
}

type Points<P> = Option<LinksState<PointState<P>>>;

/// Blocks as in the spec: one is set, or none for types that are only loaded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PointStates {
    /// For types that are attached to what they were loaded for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded_for: Option<LinksState<LinkState>>,
    /// For types RawTracePoint and RawTracePointWritable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_tracepoint: Points<RawTracepointLink>,
    /// For the cgroup types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Points<CgroupPoint>,
    /// For types SkLookup and FlowDissector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Points<NamespaceState>,
    /// For type Netfilter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netfilter: Points<InNamespace<NetfilterPoint>>,
    /// For types KProbeMulti, KRetProbeMulti, KProbeSession.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kprobe_multi: Points<KprobeMultiLink>,
    /// For types UProbeMulti, URetProbeMulti, UProbeSession.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uprobe_multi: Points<InProcess<UprobeMultiPoint>>,
    /// For type PerfEvent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perf_event: Points<PerfEventLink>,
    /// For types SkSkb and SkMsg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockmap: Points<SockmapLink>,
    /// For type StructOps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub struct_ops: Points<StructOpsLink>,
    /// For type Usdt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usdt: Points<InProcess<UsdtPoint>>,
    /// For types KSyscall and KRetSyscall.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ksyscall: Points<KsyscallLink>,
    /// For type Netkit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netkit: Points<InNamespace<NetkitPoint>>,
}
