//! `bpfman load … --dry-run`.

use bpfman_client::Services;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType;
use bpfman_proto::v1::attach_info::Info;

use crate::args::Global;
use crate::args::load::LoadWhat;
use crate::error::CliError;
use crate::hook::{HookName, HookPoint};
use crate::show;
use crate::show::tried::Tried;

/// Default priority of application objects: after the others.
const PRIORITY: i32 = 1000;

/// Runs the dry run and shows the result. A refusal fails with its own code, after the whole answer.
pub async fn run(
    global: &Global,
    client: &mut Services,
    load: v1::LoadRequest,
    (what, values): (&LoadWhat, Option<ext::LoadValues>),
) -> Result<(), CliError> {
    let attachments = attachments(what)?;
    let request = ext::DryRunRequest { load: Some(load), attachments, replaces: Vec::new(), values };
    let answer = client.node.dry_run(request).await?.into_inner();
    show::answer(global, &Tried::new(&answer))?;
    let Some((failure, log)) = refusal(answer)? else { return Ok(()) };
    Err(if log.is_empty() || !what.verifier_log {
        CliError::Tried { failure: Box::new(failure) }
    } else {
        CliError::Load { failure: Box::new(failure), log }
    })
}

pub fn refusal(answer: ext::DryRunResponse) -> Result<Option<(ext::Failure, String)>, CliError> {
    if answer.accepted {
        return Ok(None);
    }
    let mut parts = answer.programs.into_iter().chain(answer.chains);
    let part = parts.find(|part| part.failure.is_some()).unwrap_or_default();
    let failure = answer.failure.or(part.failure);
    let failure = failure.ok_or(CliError::Incomplete { call: "DryRun", part: "why it was refused" })?;
    Ok(Some((failure, part.verifier_log)))
}

fn attachments(what: &LoadWhat) -> Result<Vec<ext::DryRunAttachment>, CliError> {
    let mut all = Vec::new();
    for hook in &what.attach {
        let kind = match hook.point {
            HookPoint::Xdp => BpfmanProgramType::Xdp,
            HookPoint::Tc(_) => BpfmanProgramType::Tc,
            HookPoint::Tcx(_) => BpfmanProgramType::Tcx,
        };
        let before = all.len();
        let fitting = what.programs.iter().filter(|program| program.program_type == kind as i32);
        all.extend(fitting.map(|program| ext::DryRunAttachment {
            program: program.function.clone(),
            attach: Some(v1::AttachInfo { info: Some(point(hook)) }),
            order: None,
            isolated: false,
            point: None,
        }));
        if all.len() == before {
            return Err(CliError::Usage(format!("--attach {hook}: no program of --programs is of its type")));
        }
    }
    Ok(all)
}

fn point(hook: &HookName) -> Info {
    let iface = hook.iface.clone();
    let netns = hook.netns.as_ref().map(|path| path.to_string_lossy().into_owned());
    match hook.point {
        HookPoint::Xdp => {
            Info::XdpAttachInfo(v1::XdpAttachInfo { priority: PRIORITY, iface, netns, ..Default::default() })
        }
        HookPoint::Tc(side) => Info::TcAttachInfo(v1::TcAttachInfo {
            priority: PRIORITY,
            iface,
            netns,
            direction: side.name().to_owned(),
            ..Default::default()
        }),
        HookPoint::Tcx(side) => Info::TcxAttachInfo(v1::TcxAttachInfo {
            priority: PRIORITY,
            iface,
            netns,
            direction: side.name().to_owned(),
            ..Default::default()
        }),
    }
}
