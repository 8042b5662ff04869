//! Attachments as state objects show them: the attach point that was asked for, in the words of the API.

use bpfman_application::interface::Direction;
use bpfman_application::state::link::{
    KprobeLinkState, KretprobeLinkState, LinkState, LinkStatus, TcLinkState, TcxLinkState,
    TracepointLinkState, UprobeLinkState, XdpLinkState,
};
use bpfman_application::tc::TcProceedOn;
use bpfman_application::xdp::XdpProceedOn;
use bpfman_apply::report::{LinkOutcome, LinkReport};
use bpfman_proto::v1::{KprobeAttachInfo, TcAttachInfo, TcxAttachInfo, UprobeAttachInfo, XdpAttachInfo};

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

/// What every attachment has.
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

/// On XDP.
#[must_use]
pub fn xdp(link: LinkState, info: &XdpAttachInfo) -> XdpLinkState {
    let proceeds = |verdict: &XdpProceedOn| info.proceed_on.contains(&verdict.number());
    XdpLinkState {
        link,
        interface_name: info.iface.clone(),
        netns_path: info.netns.clone(),
        priority: info.priority,
        proceed_on: XDP.into_iter().filter(proceeds).collect(),
    }
}

/// On TCX.
#[must_use]
pub fn tcx(link: LinkState, info: &TcxAttachInfo) -> TcxLinkState {
    TcxLinkState {
        link,
        interface_name: info.iface.clone(),
        netns_path: info.netns.clone(),
        direction: direction(&info.direction),
        priority: info.priority,
    }
}

/// On TC.
#[must_use]
pub fn tc(link: LinkState, info: &TcAttachInfo) -> TcLinkState {
    let proceeds = |verdict: &TcProceedOn| info.proceed_on.contains(&verdict.number());
    TcLinkState {
        at: TcxLinkState {
            link,
            interface_name: info.iface.clone(),
            netns_path: info.netns.clone(),
            direction: direction(&info.direction),
            priority: info.priority,
        },
        proceed_on: TC.into_iter().filter(proceeds).collect(),
    }
}

/// The wire's words for the sides of an interface are those of `tc`.
fn direction(text: &str) -> Direction {
    if text.eq_ignore_ascii_case("egress") { Direction::Egress } else { Direction::Ingress }
}

/// On a kernel function.
#[must_use]
pub fn kprobe(link: LinkState, info: &KprobeAttachInfo) -> KprobeLinkState {
    KprobeLinkState { link, function: info.fn_name.clone(), offset: signed(info.offset) }
}

/// On the return from a kernel function.
#[must_use]
pub fn kretprobe(link: LinkState, info: &KprobeAttachInfo) -> KretprobeLinkState {
    KretprobeLinkState { link, function: info.fn_name.clone() }
}

/// On a trace point.
#[must_use]
pub fn tracepoint(link: LinkState, name: &str) -> TracepointLinkState {
    TracepointLinkState { link, name: name.to_owned() }
}

/// On a user-space function, or the return from it.
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

/// The API has offsets with a sign; those of the wire came from there.
fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}
