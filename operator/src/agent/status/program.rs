//! Programs as state objects show them: one block, named as in the spec.

use bpfman_application::state::link::{LinksState, TracingState};
use bpfman_application::state::program::{ClusterProgramState, ProgramLinkStatus, ProgramState};
use bpfman_apply::report::{LinkOutcome, LinkReport, ProgramReport};
use bpfman_proto::v1::attach_info::Info;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::link;

/// A program. `function`: kernel function of an fentry or fexit program. `before`: the program as it was last shown;
/// what of it is not wanted any more and still there is shown as it was.
///
/// `None` for a type that no state object has.
#[must_use]
pub fn program(
    report: &ProgramReport,
    function: &str,
    before: Option<&ClusterProgramState>,
) -> Option<ClusterProgramState> {
    let program_type = serde_json::from_value(Value::from(report.program_type)).ok()?;
    let mut shown = ClusterProgramState {
        program: ProgramState {
            name: report.name.clone(),
            program_link_status: status(report),
            program_id: report.id,
        },
        program_type,
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
    };
    let tracing = || TracingState {
        function: function.to_owned(),
        links: report.links.iter().map(link::link).collect(),
    };
    match report.program_type {
        "XDP" => {
            shown.xdp =
                Some(links(
                    report,
                    before.and_then(|before| before.xdp.as_ref()),
                    |report, info| match info {
                        Info::XdpAttachInfo(info) => Some(link::xdp(link::link(report), info)),
                        _ => None,
                    },
                ));
        }
        "TC" => {
            shown.tc =
                Some(links(
                    report,
                    before.and_then(|before| before.tc.as_ref()),
                    |report, info| match info {
                        Info::TcAttachInfo(info) => Some(link::tc(link::link(report), info)),
                        _ => None,
                    },
                ));
        }
        "TCX" => {
            shown.tcx =
                Some(links(
                    report,
                    before.and_then(|before| before.tcx.as_ref()),
                    |report, info| match info {
                        Info::TcxAttachInfo(info) => Some(link::tcx(link::link(report), info)),
                        _ => None,
                    },
                ));
        }
        "FEntry" => shown.fentry = Some(tracing()),
        "FExit" => shown.fexit = Some(tracing()),
        "KProbe" => {
            let before = before.and_then(|before| before.kprobe.as_ref());
            shown.kprobe = Some(links(report, before, |report, info| match info {
                Info::KprobeAttachInfo(info) => Some(link::kprobe(link::link(report), info)),
                _ => None,
            }));
        }
        "KRetProbe" => {
            let before = before.and_then(|before| before.kretprobe.as_ref());
            shown.kretprobe = Some(links(report, before, |report, info| match info {
                Info::KprobeAttachInfo(info) => Some(link::kretprobe(link::link(report), info)),
                _ => None,
            }));
        }
        "UProbe" | "URetProbe" => {
            let uprobe = report.program_type == "UProbe";
            let before = before
                .and_then(|before| if uprobe { before.uprobe.as_ref() } else { before.uretprobe.as_ref() });
            let block = links(report, before, |report, info| match info {
                Info::UprobeAttachInfo(info) => Some(link::uprobe(link::link(report), info)),
                _ => None,
            });
            *(if uprobe { &mut shown.uprobe } else { &mut shown.uretprobe }) = Some(block);
        }
        "TracePoint" => {
            let before = before.and_then(|before| before.tracepoint.as_ref());
            shown.tracepoint = Some(links(report, before, |report, info| match info {
                Info::TracepointAttachInfo(info) => {
                    Some(link::tracepoint(link::link(report), &info.tracepoint))
                }
                _ => None,
            }));
        }
        _ => return None,
    }
    Some(shown)
}

/// The attachments of a program. One that is not wanted any more has no attach point; its last entry stays, with what
/// became of it.
fn links<L: Clone + serde::Serialize + DeserializeOwned>(
    report: &ProgramReport,
    before: Option<&LinksState<L>>,
    show: impl Fn(&LinkReport, &Info) -> Option<L>,
) -> LinksState<L> {
    let shown = |report: &LinkReport| {
        if let Some(wanted) = &report.wanted {
            return show(report, wanted.attach.info.as_ref()?);
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
