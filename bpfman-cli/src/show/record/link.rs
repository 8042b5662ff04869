//! The shape of a link.

use std::collections::BTreeMap;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1::attach_info::Info;
use serde::Serialize;

use super::filled;
use crate::show::standing::StandingWord;
use crate::verdict;

/// An attachment.
#[derive(Clone, Debug, Serialize)]
pub struct LinkRecord {
    /// The daemon's own id.
    pub link_id: u32,
    /// Kernel id of the program.
    pub program_id: u32,
    /// Function name of the program.
    pub program_name: String,
    /// Exact type of the program.
    #[serde(rename = "type")]
    pub program_type: String,
    /// The attach point in one line.
    pub attachment: String,
    /// Application of the program.
    pub application: Option<String>,
    /// `ok`, or what differs between what was asked and what the kernel has.
    pub state: String,
    /// The same in one word: `running`, `waiting`, `elsewhere`, `gone`, `unpinned`, `replaced`, `torn`, `lost`.
    pub standing: Option<StandingWord>,
    /// The hook as `chain show` takes it.
    pub hook: Option<String>,
    /// Place in the chain, from 0.
    pub position: Option<u32>,
    /// Kernel's link that makes it run.
    pub kernel_link_id: Option<u32>,
    /// Program that the hook runs: this one, or the chain it is part of.
    pub running_program_id: Option<u32>,
    /// Where the kernel's link is pinned.
    pub pin_path: Option<String>,
    /// Metadata of the link.
    pub metadata: BTreeMap<String, String>,
    /// The attach point as it was asked for.
    pub attach: AttachRecord,
}

/// An attach point as it was asked for. Fields that the type does not have are `null` or empty.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AttachRecord {
    /// Network interface.
    pub iface: Option<String>,
    /// `ingress` or `egress`.
    pub direction: Option<String>,
    /// Lower runs earlier.
    pub priority: Option<i32>,
    /// Verdicts after which the next program runs, by name.
    pub proceed_on: Vec<String>,
    /// Network namespace file.
    pub netns: Option<String>,
    /// `category/name` of a trace point.
    pub tracepoint: Option<String>,
    /// Function that a probe, fentry or fexit program is on; hook of an LSM program.
    pub fn_name: Option<String>,
    /// Bytes from the function's start.
    pub offset: Option<u64>,
    /// Binary or library of a user-space probe.
    pub target: Option<String>,
    /// Only this process.
    pub pid: Option<i32>,
    /// Process whose view of files counts.
    pub container_pid: Option<i32>,
}

impl From<&ext::Link> for LinkRecord {
    fn from(link: &ext::Link) -> Self {
        let info = link.attach_info.as_ref().and_then(|attach| attach.info.as_ref());
        let attach = info.map(AttachRecord::from).unwrap_or_default();
        Self {
            link_id: link.id,
            program_id: link.program_id,
            program_name: link.program_name.clone(),
            program_type: link.program_type.clone(),
            attachment: link.attachment.clone(),
            application: filled(&link.application),
            standing: StandingWord::of(link.standing()),
            state: if link.state.is_empty() { "ok".to_owned() } else { link.state.clone() },
            hook: filled(&link.hook),
            position: link.position,
            kernel_link_id: link.kernel_link_id,
            running_program_id: link.running_program_id,
            pin_path: filled(&link.pin_path),
            metadata: link.metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            attach: AttachRecord {
                // Types that are bound when they are loaded say nothing of it when they are attached.
                fn_name: attach.fn_name.or_else(|| filled(&link.attach_target)),
                ..attach
            },
        }
    }
}

impl From<&Info> for AttachRecord {
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
