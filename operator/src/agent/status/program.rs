//! Programs in a status: one block each, named as in the spec.

use bpfman_application::program::ClusterProgram;
use bpfman_application::state::link::{
    KprobeLinkState, KretprobeLinkState, LinkState, LinksState, TcLinkState, TcxLinkState,
    TracepointLinkState, TracingState, XdpLinkState,
};
use bpfman_application::state::program::{ClusterProgramState, ProgramLinkStatus, ProgramState};
use bpfman_apply::report::{LinkOutcome, LinkReport, ProgramReport};
use bpfman_model::ProgramType;
use bpfman_proto::WirePoint;
use bpfman_proto::v1::attach_info::Info;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::link;
use super::points::points;

/// Converts a program, or `None` for an impossible type; `before` has the attachments that are no longer wanted.
#[must_use]
pub fn program(
    report: &ProgramReport,
    told: Option<&ClusterProgram>,
    before: Option<&ClusterProgramState>,
) -> Option<ClusterProgramState> {
    let program_type = ProgramType::of_manifest(report.program_type)?;
    let mut shown = ClusterProgramState {
        program: ProgramState {
            name: report.name.clone(),
            program_link_status: status(report),
            program_id: report.id,
        },
        program_type,
        target: told.and_then(|told| told.target.clone()),
        xdp: None,
        tc: None,
        tcx: None,
        fentry: None,
        fexit: None,
        kprobe: None,
        kretprobe: None,
        uprobe: None,
        uretprobe: None,
        tracepoint: None,
        points: points(program_type, report, before.map(|before| &before.points)),
    };
    let traced = told.and_then(|told| told.fentry.as_ref().or(told.fexit.as_ref()));
    let tracing = || TracingState {
        function: traced.map(|block| block.function.clone()).unwrap_or_default(),
        links: report.links.iter().map(link::link).collect(),
    };
    macro_rules! tcx {
        ($link:ident, $info:ident) => {
            TcxLinkState {
                link: $link,
                interface_name: $info.iface.clone(),
                netns_path: $info.netns.clone(),
                direction: link::direction(&$info.direction),
                priority: $info.priority,
            }
        };
    }
    macro_rules! block {
        ($field:ident, $info:ident, |$link:ident, $at:ident| $show:expr) => {{
            let before = before.and_then(|before| before.$field.as_ref());
            shown.$field = Some(links(report, before, |$link, point| match point.as_published() {
                Some(Info::$info($at)) => Some($show),
                _ => None,
            }));
        }};
    }
    match report.program_type {
        "XDP" => block!(xdp, XdpAttachInfo, |link, info| XdpLinkState {
            link,
            interface_name: info.iface.clone(),
            netns_path: info.netns.clone(),
            priority: info.priority,
            proceed_on: link::xdp_verdicts(&info.proceed_on),
        }),
        "TC" => block!(tc, TcAttachInfo, |link, info| TcLinkState {
            at: tcx!(link, info),
            proceed_on: link::tc_verdicts(&info.proceed_on),
        }),
        "TCX" => block!(tcx, TcxAttachInfo, |link, info| tcx!(link, info)),
        "FEntry" => shown.fentry = Some(tracing()),
        "FExit" => shown.fexit = Some(tracing()),
        "KProbe" => block!(kprobe, KprobeAttachInfo, |link, info| KprobeLinkState {
            link,
            function: info.fn_name.clone(),
            offset: link::signed(info.offset),
        }),
        "KRetProbe" => block!(kretprobe, KprobeAttachInfo, |link, info| KretprobeLinkState {
            link,
            function: info.fn_name.clone(),
        }),
        "UProbe" => block!(uprobe, UprobeAttachInfo, |link, info| link::uprobe(link, info)),
        "URetProbe" => block!(uretprobe, UprobeAttachInfo, |link, info| link::uprobe(link, info)),
        "TracePoint" => block!(tracepoint, TracepointAttachInfo, |link, info| TracepointLinkState {
            link,
            name: info.tracepoint.clone(),
        }),
        _ => {}
    }
    Some(shown)
}

/// Returns the attachments of a program. One that is no longer wanted keeps its last entry, with its current state.
pub fn links<L: Clone + serde::Serialize + DeserializeOwned>(
    report: &ProgramReport,
    before: Option<&LinksState<L>>,
    show: impl Fn(LinkState, &WirePoint) -> Option<L>,
) -> LinksState<L> {
    let shown = |report: &LinkReport| {
        if let Some(wanted) = &report.wanted {
            return show(link::link(report), &wanted.point);
        }
        let last = before?.links.iter().filter_map(|link| serde_json::to_value(link).ok());
        let mut last = last.into_iter().find(|last| last["uuid"] == report.uuid.as_str())?;
        if let (Value::Object(last), Ok(Value::Object(now))) =
            (&mut last, serde_json::to_value(link::link(report)))
        {
            last.extend(now);
        }
        serde_json::from_value(last).ok()
    };
    LinksState { links: report.links.iter().filter_map(shown).collect() }
}

fn status(report: &ProgramReport) -> ProgramLinkStatus {
    let failed = |link: &LinkReport| {
        matches!(link.status, LinkOutcome::AttachFailed(_) | LinkOutcome::DetachFailed(_))
    };
    if report.links.iter().any(failed) {
        ProgramLinkStatus::Error
    } else if !report.problems.is_empty() {
        ProgramLinkStatus::UpdateAttachInfoError
    } else if report.id.is_none() {
        ProgramLinkStatus::Pending
    } else {
        ProgramLinkStatus::Success
    }
}
