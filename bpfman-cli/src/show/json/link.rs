//! Links as JSON.

use std::collections::BTreeMap;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::point::At;
use bpfman_proto::v1::attach_info::Info;
use serde::Serialize;

use super::filled;
use crate::show::json_shape::json_shape;
use crate::show::standing::{StandingWord, state_text};
use crate::verdict;

json_shape! {
    /// Link: an attachment.
    pub struct LinkJson(link: &ext::Link) {
        /// Id of the link; 0 for a third-party link.
        link_id: u32 = link.id,
        program_id: u32 = link.program_id,
        program_name: String = link.program_name.clone(),
        #[serde(rename = "type")]
        program_type: String = link.program_type.clone(),
        /// Attach point in one line.
        attachment: String = link.attachment.clone(),
        application: Option<String> = filled(&link.application),
        /// `ok`, or the difference between the record and the kernel.
        state: String = state_text(&link.state),
        /// State in one word: `running`, `waiting`, `elsewhere`, `gone`, `unpinned`, `replaced`, `torn`, `lost`.
        standing: Option<StandingWord> = StandingWord::of(link.standing()),
        /// Hook, by its name in commands.
        hook: Option<String> = filled(&link.hook),
        /// Position in the chain, from 0.
        position: Option<u32> = link.position,
        kernel_link_id: Option<u32> = link.kernel_link_id,
        /// Program that the hook runs: this one, or its chain.
        running_program_id: Option<u32> = link.running_program_id,
        pin_path: Option<String> = filled(&link.pin_path),
        owner: Option<String> = filled(&link.owner),
        /// Mode of the hook's XDP chain: `native`, `generic` or `offload`.
        xdp_mode: Option<String> = link.xdp.as_ref().map(|xdp| xdp.mode.clone()),
        /// Driver's error, if XDP is generic because of it.
        xdp_refusal: Option<String> = link.xdp.as_ref().and_then(|xdp| filled(&xdp.refusal)),
        /// True if the verdicts are ignored.
        shadow: bool = link.shadow,
        /// Seconds until it is detached; null if it stays.
        ttl_left: Option<u64> = link.ttl_left,
        metadata: BTreeMap<String, String> = link.metadata.clone().into_iter().collect(),
        attach: AttachJson = AttachJson::of(link),
    }
}

/// Attach point, as requested. Fields that the type does not have are `null` or empty.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AttachJson {
    pub iface: Option<String>,
    /// `ingress` or `egress`.
    pub direction: Option<String>,
    /// Priority; lower runs earlier.
    pub priority: Option<i32>,
    /// Verdicts after which the next program runs, by name.
    pub proceed_on: Vec<String>,
    pub netns: Option<String>,
    /// Trace point, as `category/name`.
    pub tracepoint: Option<String>,
    /// Function of a probe, fentry or fexit program; hook of an LSM program; system call; USDT probe.
    pub fn_name: Option<String>,
    /// Offset from the function's start, in bytes.
    pub offset: Option<u64>,
    /// Binary or library of a user-space probe.
    pub target: Option<String>,
    /// Process to which a probe is limited.
    pub pid: Option<i32>,
    /// Process that provides the mount namespace of the target.
    pub container_pid: Option<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perf_event: Option<PerfEventJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netfilter: Option<NetfilterJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderJson>,
}

impl AttachJson {
    fn of(link: &ext::Link) -> Self {
        let info = link.attach_info.as_ref().and_then(|attach| attach.info.as_ref());
        let at = link.point.as_ref().and_then(|point| point.at.as_ref());
        let attach = info.map(Self::from).or_else(|| at.map(Self::from)).unwrap_or_default();
        // Types that are bound at load have no target in the attachment.
        Self {
            fn_name: attach.fn_name.or_else(|| filled(&link.attach_target)),
            order: OrderJson::of(link),
            ..attach
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct OrderJson {
    /// Role, by which intents of other links refer to it; `null` if it has none.
    pub role: Option<String>,
    pub before: Vec<String>,
    pub after: Vec<String>,
}

impl OrderJson {
    fn of(link: &ext::Link) -> Option<Self> {
        let order = Self { role: filled(&link.role), before: link.before.clone(), after: link.after.clone() };
        let wants = order.role.is_some() || !order.before.is_empty() || !order.after.is_empty();
        wants.then_some(order)
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct PerfEventJson {
    pub event: String,
    /// Approximate runs per second; `null` if the period is set.
    pub frequency: Option<u64>,
    /// Events per run; `null` if the frequency is set.
    pub period: Option<u64>,
    /// CPU; `null` for all, or those on which the thread runs.
    pub cpu: Option<u32>,
}

#[derive(Clone, Debug, Serialize)]
pub struct NetfilterJson {
    pub family: String,
    pub hook: String,
    pub defragment: bool,
}

impl From<&At> for AttachJson {
    fn from(at: &At) -> Self {
        match at {
            At::LoadedFor(_) => Self::default(),
            At::RawTracepoint(name) => Self { tracepoint: filled(name), ..Self::default() },
            At::KprobeMulti(point) => Self { functions: point.functions.clone(), ..Self::default() },
            At::UprobeMulti(point) => Self {
                target: filled(&point.target),
                functions: point.functions.clone(),
                pid: point.pid,
                container_pid: point.container_pid,
                ..Self::default()
            },
            At::Netkit(point) => {
                Self { iface: filled(&point.interface), netns: filled(&point.netns), ..Self::default() }
            }
            At::Usdt(point) => Self {
                target: filled(&point.target),
                fn_name: Some(format!("{}:{}", point.provider, point.name)),
                pid: point.pid,
                container_pid: point.container_pid,
                ..Self::default()
            },
            At::Ksyscall(name) => Self { fn_name: filled(name), ..Self::default() },
            At::Sockmap(map) | At::StructOps(map) => Self { map: filled(map), ..Self::default() },
            At::PerfEvent(point) => Self {
                pid: point.pid,
                perf_event: Some(PerfEventJson {
                    event: point.event.clone(),
                    frequency: point.frequency,
                    period: point.period,
                    cpu: point.cpu,
                }),
                ..Self::default()
            },
            At::Cgroup(path) => Self { cgroup: filled(path), ..Self::default() },
            At::Netns(netns) => Self { netns: filled(netns), ..Self::default() },
            At::Netfilter(point) => Self {
                netns: filled(&point.netns),
                priority: Some(point.priority),
                netfilter: Some(NetfilterJson {
                    family: point.family.clone(),
                    hook: point.hook.clone(),
                    defragment: point.defragment,
                }),
                ..Self::default()
            },
        }
    }
}

impl From<&Info> for AttachJson {
    fn from(info: &Info) -> Self {
        match info {
            Info::XdpAttachInfo(xdp) => Self {
                iface: filled(&xdp.iface),
                priority: Some(xdp.priority),
                proceed_on: verdict::names(verdict::XDP, &xdp.proceed_on, verdict::XDP_DEFAULT),
                netns: xdp.netns.clone(),
                ..Self::default()
            },
            Info::TcAttachInfo(tc) => Self {
                iface: filled(&tc.iface),
                direction: filled(&tc.direction),
                priority: Some(tc.priority),
                proceed_on: verdict::names(verdict::TC, &tc.proceed_on, verdict::TC_DEFAULT),
                netns: tc.netns.clone(),
                ..Self::default()
            },
            Info::TcxAttachInfo(tcx) => Self {
                iface: filled(&tcx.iface),
                direction: filled(&tcx.direction),
                priority: Some(tcx.priority),
                netns: tcx.netns.clone(),
                ..Self::default()
            },
            Info::TracepointAttachInfo(tracepoint) => {
                Self { tracepoint: filled(&tracepoint.tracepoint), ..Self::default() }
            }
            Info::KprobeAttachInfo(kprobe) => Self {
                fn_name: filled(&kprobe.fn_name),
                offset: Some(kprobe.offset),
                container_pid: kprobe.container_pid,
                ..Self::default()
            },
            Info::UprobeAttachInfo(uprobe) => Self {
                fn_name: uprobe.fn_name.as_deref().and_then(filled),
                offset: Some(uprobe.offset),
                target: filled(&uprobe.target),
                pid: uprobe.pid,
                container_pid: uprobe.container_pid,
                ..Self::default()
            },
            Info::FentryAttachInfo(_) | Info::FexitAttachInfo(_) | Info::LsmAttachInfo(_) => Self::default(),
        }
    }
}
