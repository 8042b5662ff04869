//! Attachments in a status: the requested attach point, with the names of the API.

use bpfman_application::interface::TrafficDirection;
use bpfman_application::state::link::{LinkState, LinkStatus, UprobeLinkState};
use bpfman_application::tc::TcProceedOn;
use bpfman_application::xdp::XdpProceedOn;
use bpfman_apply::report::{LinkOutcome, LinkReport};
use bpfman_proto::v1::UprobeAttachInfo;

const XDP: [XdpProceedOn; 6] = [
    XdpProceedOn::Aborted,
    XdpProceedOn::Drop,
    XdpProceedOn::Pass,
    XdpProceedOn::Tx,
    XdpProceedOn::ReDirect,
    XdpProceedOn::DispatcherReturn,
];

const TC: [TcProceedOn; 11] = [
    TcProceedOn::UnSpec,
    TcProceedOn::Ok,
    TcProceedOn::ReClassify,
    TcProceedOn::Shot,
    TcProceedOn::Pipe,
    TcProceedOn::Stolen,
    TcProceedOn::Queued,
    TcProceedOn::Repeat,
    TcProceedOn::ReDirect,
    TcProceedOn::Trap,
    TcProceedOn::DispatcherReturn,
];

/// Returns the fields that all attachments have.
#[must_use]
pub fn link(report: &LinkReport) -> LinkState {
    LinkState {
        should_attach: report.wanted.is_some() || report.kept,
        uuid: report.uuid.clone(),
        link_id: report.id,
        link_status: match report.status {
            LinkOutcome::Attached => LinkStatus::Attached,
            LinkOutcome::NotAttached => LinkStatus::NotAttached,
            LinkOutcome::AttachFailed(_) => LinkStatus::AttachError,
            LinkOutcome::DetachFailed(_) => LinkStatus::DetachError,
        },
    }
}

/// Converts a direction of the wire, which uses the names of `tc`.
#[must_use]
pub fn direction(text: &str) -> TrafficDirection {
    if text.eq_ignore_ascii_case("egress") { TrafficDirection::Egress } else { TrafficDirection::Ingress }
}

#[must_use]
pub fn xdp_verdicts(numbers: &[i32]) -> Vec<XdpProceedOn> {
    XDP.into_iter().filter(|verdict| numbers.contains(&verdict.number())).collect()
}

#[must_use]
pub fn tc_verdicts(numbers: &[i32]) -> Vec<TcProceedOn> {
    TC.into_iter().filter(|verdict| numbers.contains(&verdict.number())).collect()
}

/// Converts an attachment to a user-space function, or to the return from it.
#[must_use]
pub fn uprobe(link: LinkState, info: &UprobeAttachInfo) -> UprobeLinkState {
    UprobeLinkState {
        link,
        function: info.fn_name.clone().filter(|name| !name.is_empty()),
        offset: signed(info.offset),
        target: info.target.clone(),
        pid: info.pid,
        container_pid: info.container_pid,
    }
}

/// Converts an offset of the wire to the signed type of the API, from which it came.
#[must_use]
pub fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}
