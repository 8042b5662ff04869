use bpfman_client::Services;
use bpfman_model::HookKind;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1::BpfmanProgramType;
use bpfman_proto::{WirePoint, v1};

use crate::args::Global;
use crate::args::load::LoadWhat;
use crate::error::CliError;
use crate::show;
use crate::show::tried::Tried;

/// Priority of the dry run: the default of application objects, which places a program last.
const PRIORITY: i32 = 1000;

/// Runs the dry run and shows the result. If it was refused, then fails with the exit code of the refusal.
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
        let kind = match hook.kind {
            HookKind::Xdp => BpfmanProgramType::Xdp,
            HookKind::Tc(_) => BpfmanProgramType::Tc,
            HookKind::Tcx(_) => BpfmanProgramType::Tcx,
        };
        let (attach, _) = WirePoint::of_hook(hook.kind, &hook.interface, PRIORITY).into_fields();
        let before = all.len();
        let fitting = what.programs.iter().filter(|program| program.program_type == kind as i32);
        all.extend(fitting.map(|program| ext::DryRunAttachment {
            program: program.function.clone(),
            attach: attach.clone(),
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
