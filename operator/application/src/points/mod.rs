//! Attachments that the published API does not have: one block per kind of attach point, for cluster applications only.

pub mod cgroup;
pub mod kernel;
pub mod maps;
pub mod network;
pub mod user;

use bpfman_model::ProgramType;
use kube_core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attachment::Attachments;
use crate::pods::PodSelector;
use crate::program_type::ManifestType;
use crate::tracing::TracingLink;
use cgroup::CgroupLink;
use kernel::{KprobeMultiLink, KsyscallLink, PerfEventLink, RawTracepointLink};
use maps::{SockmapLink, StructOpsLink};
use network::{NamespaceChoice, NetfilterLink, NetkitLink};
use user::{UprobeMultiLink, UsdtLink};

/// Maximum number of functions of one attachment, which is the daemon's limit.
pub const MAX_FUNCTIONS: usize = 1000;
/// Maximum number of patterns among the functions of one attachment.
pub const MAX_PATTERNS: usize = 100;
/// Maximum length of `target`, in characters.
pub const MAX_TARGET: usize = 128;

/// Blocks of attach points: one is set, or none for types that are only loaded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PointBlocks {
    /// For types that are attached to what they were loaded for: TpBtf, FModRet, Lsm, Iter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded_for: Option<LoadedFor>,
    /// For types RawTracePoint and RawTracePointWritable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_tracepoint: Option<Attachments<RawTracepointLink>>,
    /// For types CgroupSkb, CgroupSock, CgroupSockAddr, CgroupSockopt, CgroupSysctl, CgroupDevice, SockOps, LsmCgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Attachments<CgroupLink>>,
    /// For types SkLookup and FlowDissector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<Attachments<NamespaceChoice>>,
    /// For type Netfilter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netfilter: Option<Attachments<NetfilterLink>>,
    /// For types KProbeMulti, KRetProbeMulti, KProbeSession.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kprobe_multi: Option<Attachments<KprobeMultiLink>>,
    /// For types UProbeMulti, URetProbeMulti, UProbeSession.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uprobe_multi: Option<Attachments<UprobeMultiLink>>,
    /// For type PerfEvent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perf_event: Option<Attachments<PerfEventLink>>,
    /// For types SkSkb and SkMsg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockmap: Option<Attachments<SockmapLink>>,
    /// For type StructOps: set by one of the programs that the structure names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub struct_ops: Option<Attachments<StructOpsLink>>,
    /// For type Usdt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usdt: Option<Attachments<UsdtLink>>,
    /// For types KSyscall and KRetSyscall.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ksyscall: Option<Attachments<KsyscallLink>>,
    /// For type Netkit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netkit: Option<Attachments<NetkitLink>>,
}

/// Attachment of a program to its load target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadedFor {
    /// One entry attaches it; none leaves it loaded only. May change at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1))]
    pub links: Vec<TracingLink>,
}

impl PointBlocks {
    /// Returns the names of the blocks and whether each is present.
    #[must_use]
    pub const fn given(&self) -> [(&'static str, bool); 13] {
        [
            ("loadedFor", self.loaded_for.is_some()),
            ("rawTracepoint", self.raw_tracepoint.is_some()),
            ("cgroup", self.cgroup.is_some()),
            ("netns", self.netns.is_some()),
            ("netfilter", self.netfilter.is_some()),
            ("kprobeMulti", self.kprobe_multi.is_some()),
            ("uprobeMulti", self.uprobe_multi.is_some()),
            ("perfEvent", self.perf_event.is_some()),
            ("sockmap", self.sockmap.is_some()),
            ("structOps", self.struct_ops.is_some()),
            ("usdt", self.usdt.is_some()),
            ("ksyscall", self.ksyscall.is_some()),
            ("netkit", self.netkit.is_some()),
        ]
    }

    /// Returns the network namespace selectors: block, index in the block, selector.
    #[must_use]
    pub fn namespaces(&self) -> Vec<(&'static str, usize, &NamespaceChoice)> {
        let netns = links(self.netns.as_ref()).map(|(at, link)| ("netns", at, link));
        let netfilter = links(self.netfilter.as_ref()).map(|(at, link)| ("netfilter", at, &link.namespace));
        let netkit = links(self.netkit.as_ref()).map(|(at, link)| ("netkit", at, &link.namespace));
        netns.chain(netfilter).chain(netkit).collect()
    }

    /// Returns all pod selectors.
    #[must_use]
    pub fn pods(&self) -> Vec<PodSelector<'_>> {
        let networks = self.namespaces().into_iter().filter_map(|(_, _, choice)| choice.pods());
        let uprobes = links(self.uprobe_multi.as_ref()).filter_map(|(_, link)| link.containers.as_ref());
        let usdt = links(self.usdt.as_ref()).filter_map(|(_, link)| link.containers.as_ref());
        networks.chain(uprobes.chain(usdt).map(Into::into)).collect()
    }
}

/// Returns the attachments of a block, with their indices.
pub fn links<A>(block: Option<&Attachments<A>>) -> impl Iterator<Item = (usize, &A)> {
    block.into_iter().flat_map(|block| &block.links).enumerate()
}

pub(crate) fn only_with_types(block: &str) -> Rule {
    let types = ManifestType::of_block(block);
    let message = match &types[..] {
        [one] => format!("the block {block} belongs to type {one}, and is needed there"),
        several => format!("the block {block} belongs to types {}, and is needed there", several.join(", ")),
    };
    Rule::new(format!("(self.type in ['{}']) == has(self.{block})", types.join("', '"))).message(&*message)
}

pub(crate) fn target_only_where_taken() -> Rule {
    let with_target = ProgramType::ALL.into_iter().filter(|kind| kind.takes_target());
    let types: Vec<&str> = with_target.filter_map(ProgramType::manifest_name).collect();
    let message = format!("target belongs to types {}", types.join(", "));
    Rule::new(format!("!has(self.target) || (self.type in ['{}'])", types.join("', '"))).message(&*message)
}
