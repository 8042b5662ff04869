//! `bpfman doctor`: recorded state, compared with the kernel.

use bpfman_client::Services;
use bpfman_model::{Hint, HookName, LinkId, ProgramId};
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;

use super::progress::while_waiting;
use super::{connect, dead_daemon};
use crate::args::Global;
use crate::error::CliError;
use crate::finding_class::FindingClass;
use crate::show::diagnosis::Diagnosis;
use crate::show::verified::VerifiedChain;

fn look(hook: &str) -> Hint {
    Hint::ShowChain { hook: hook.to_owned() }
}

pub async fn run(global: &Global) -> Result<(), CliError> {
    let mut diagnosis = Diagnosis::default();
    match connect(global).await {
        Ok(mut client) => while_waiting(global, "looking", living(&mut client, &mut diagnosis)).await?,
        Err(CliError::Unreachable { source, .. }) => dead_daemon::examine(global, &source, &mut diagnosis),
        Err(error) => return Err(error),
    }
    crate::show::answer(global, &diagnosis)?;
    let Some(gravest) = diagnosis.gravest() else { return Ok(()) };
    let what = match diagnosis.findings.len() {
        1 => "1 finding".to_owned(),
        count => format!("{count} findings"),
    };
    let hint = match &gravest.fix {
        Some(fix) => format!("the gravest is {}: `{fix}`", gravest.subject).into(),
        None => format!("the gravest is {}", gravest.subject).into(),
    };
    Err(CliError::Unhealthy { what, exit: gravest.class.exit(), hint })
}

async fn living(client: &mut Services, diagnosis: &mut Diagnosis) -> Result<(), CliError> {
    let examined = itself(client, diagnosis).await?;
    // During break-glass, everything attached would be a finding, and the other checks need calls that are suspended.
    if diagnosis.findings.iter().any(|found| found.class == FindingClass::DETACHED) {
        return Ok(());
    }
    programs(client, diagnosis).await?;
    links(client, diagnosis).await?;
    hooks(client, diagnosis).await?;
    matches(client, diagnosis).await?;
    strays(client, diagnosis).await?;
    provenance(client, diagnosis, examined).await?;
    cage(client, diagnosis).await?;
    radar(client, diagnosis).await?;
    Ok(())
}

async fn itself(client: &mut Services, diagnosis: &mut Diagnosis) -> Result<bool, CliError> {
    let Some(answer) = offered(client.node.examine(ext::ExamineRequest {}).await)? else { return Ok(false) };
    for found in answer.findings {
        let class = FindingClass::from_name(&found.class);
        diagnosis.because(class, found.subject, found.what, found.why, Some(found.fix));
    }
    answer.notes.into_iter().for_each(|note| diagnosis.note(note.subject, note.what));
    Ok(true)
}

/// Returns whether an object differs from its record; false if it is being changed, or third-party.
const fn differs(standing: ext::Standing) -> bool {
    !matches!(standing, ext::Standing::Running | ext::Standing::Changing | ext::Standing::Unspecified)
}

fn offered<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> Result<Option<T>, CliError> {
    match answer {
        Ok(answer) => Ok(Some(answer.into_inner())),
        Err(status) if status.code() == tonic::Code::Unimplemented => Ok(None),
        Err(status) => Err(status.into()),
    }
}

async fn programs(client: &mut Services, diagnosis: &mut Diagnosis) -> Result<(), CliError> {
    let select = v1::ListRequest { bpfman_programs_only: Some(true), ..Default::default() };
    let request = ext::ListProgramsRequest { select: Some(select), program_type: String::new() };
    let answer = client.ext.list_programs(request).await?.into_inner();
    diagnosis.checked.programs = answer.programs.len();
    for program in answer.programs.iter().filter(|program| !program.cpu_excess.is_empty()) {
        let id = program.kernel_info.as_ref().map_or(0, |kernel| kernel.id);
        let look = Hint::GetProgram(ProgramId(id));
        diagnosis.found(FindingClass::DRIFT, format!("program {id}"), program.state.clone(), &look);
    }
    for program in answer.programs.iter().filter(|program| differs(program.standing())) {
        let id = program.kernel_info.as_ref().map_or(0, |kernel| kernel.id);
        let fix = match program.standing() {
            // The daemon retries by itself.
            ext::Standing::Waiting => Hint::GetProgram(ProgramId(id)),
            _ => Hint::RestartDaemon,
        };
        diagnosis.found(FindingClass::DRIFT, format!("program {id}"), program.state.clone(), &fix);
    }
    Ok(())
}

async fn links(client: &mut Services, diagnosis: &mut Diagnosis) -> Result<(), CliError> {
    let answer = client.ext.list_links(ext::ListLinksRequest::default()).await?.into_inner();
    diagnosis.checked.links = answer.links.len();
    for link in answer.links.iter().filter(|link| differs(link.standing())) {
        let fix = match link.standing() {
            // A new process, interface or namespace of the same name does not bring the link back.
            ext::Standing::Gone => Hint::Detach(LinkId(link.id)),
            // A restart of the daemon brings back neither interface nor path.
            ext::Standing::Waiting | ext::Standing::Elsewhere | ext::Standing::Unreachable => {
                Hint::GetLink(LinkId(link.id))
            }
            _ => Hint::RestartDaemon,
        };
        diagnosis.found(FindingClass::DRIFT, format!("link {}", link.id), link.state.clone(), &fix);
    }
    Ok(())
}

async fn hooks(client: &mut Services, diagnosis: &mut Diagnosis) -> Result<(), CliError> {
    let Some(answer) = offered(client.chains.list_hooks(ext::ListHooksRequest {}).await)? else {
        return Ok(());
    };
    for summary in &answer.hooks {
        if differs(summary.standing()) {
            // Do not verify a hook that is known to differ: one finding is enough.
            diagnosis.found(FindingClass::DRIFT, &summary.hook, &summary.state, &look(&summary.hook));
            continue;
        }
        if summary.standing() == ext::Standing::Changing {
            diagnosis
                .note(&summary.hook, "an operation changes its chain, which was not verified: ask again");
            continue;
        }
        // The kernel orders tcx links itself: there is no chain to build.
        let Ok(hook) = summary.hook.parse::<HookName>() else { continue };
        if summary.strategy == "kernel" {
            continue;
        }
        diagnosis.checked.chains += 1;
        let request = ext::VerifyChainRequest { hook: Some(ext::Hook::from(&hook)) };
        match client.chains.verify_chain(request).await {
            Ok(answer) => {
                let verified = VerifiedChain::new(&summary.hook, &answer.into_inner());
                for difference in verified.differences() {
                    diagnosis.found(FindingClass::DRIFT, &summary.hook, difference, &look(&summary.hook));
                }
            }
            // The hook was detached after it was listed.
            Err(status) if status.code() == tonic::Code::NotFound => {}
            // Not a fault of the machine: the caller lacks the permission.
            Err(status) if status.code() == tonic::Code::PermissionDenied => {
                diagnosis.checked.chains -= 1;
                diagnosis.note(&summary.hook, format!("its chain was not verified: {}", status.message()));
            }
            Err(status) => {
                diagnosis.found(FindingClass::DRIFT, &summary.hook, status.message(), &look(&summary.hook));
            }
        }
    }
    Ok(())
}

/// Compares programs with the current signature policy: keys, identities and digests may have been revoked.
async fn provenance(
    client: &mut Services,
    diagnosis: &mut Diagnosis,
    examined: bool,
) -> Result<(), CliError> {
    let answer = match client.images.check_provenance(ext::CheckProvenanceRequest {}).await {
        // Either the caller lacks the permission, or the daemon has already reported the policy as unusable.
        Err(status) if status.code() == tonic::Code::PermissionDenied && examined => {
            if diagnosis.findings.iter().all(|found| found.class != FindingClass::POLICY) {
                diagnosis.note(
                    "policy",
                    format!("running programs were not held against it: {}", status.message()),
                );
            }
            return Ok(());
        }
        // An older daemon does not examine itself: the policy may be unusable.
        Err(status) if status.code() == tonic::Code::PermissionDenied => {
            diagnosis.found(FindingClass::POLICY, "policy", status.message(), &Hint::Whoami);
            return Ok(());
        }
        answer => answer,
    };
    let Some(answer) = offered(answer)? else { return Ok(()) };
    for finding in answer.findings {
        let (id, source, why) = (finding.program_id, finding.source, finding.why);
        let action = if finding.action == "detached" {
            format!("its {} links were detached", finding.detached_links.len())
        } else {
            "it runs on, as the policy says".to_owned()
        };
        let fix = Hint::Unload(ProgramId(id));
        diagnosis.found(
            FindingClass::POLICY,
            format!("program {id}"),
            format!("{why} ({source}); {action}"),
            &fix,
        );
    }
    Ok(())
}

async fn strays(client: &mut Services, diagnosis: &mut Diagnosis) -> Result<(), CliError> {
    let Some(answer) = offered(client.chains.list_strays(ext::ListStraysRequest {}).await)? else {
        return Ok(());
    };
    // A daemon that examines itself has reported this problem already.
    if !answer.pins_problem.is_empty() && diagnosis.findings.iter().all(|found| found.subject != "bpffs") {
        diagnosis.found(FindingClass::KERNEL, "bpffs", answer.pins_problem, &Hint::RestartDaemon);
    }
    for stray in answer.strays {
        let subject = format!("stray {}", stray.pin);
        diagnosis.found(
            FindingClass::STRAYS,
            subject,
            stray.description,
            &Hint::RemoveStray { pin: stray.pin },
        );
    }
    Ok(())
}

async fn matches(client: &mut Services, diagnosis: &mut Diagnosis) -> Result<(), CliError> {
    let Some(answer) = offered(client.chains.list_matching(ext::ListMatchingRequest {}).await)? else {
        return Ok(());
    };
    diagnosis.checked.matches = answer.matchings.len();
    for matching in &answer.matchings {
        for failure in &matching.failures {
            let subject = format!("match {}", matching.id);
            diagnosis.found(FindingClass::DRIFT, subject, failure, &Hint::ListMatches);
        }
    }
    Ok(())
}

/// Adds changes by third parties, and a radar with reduced coverage. The caller may lack the permission.
async fn radar(client: &mut Services, diagnosis: &mut Diagnosis) -> Result<(), CliError> {
    let answer = match client.radar.survey_radar(ext::SurveyRadarRequest {}).await {
        Err(status) if status.code() == tonic::Code::PermissionDenied => return Ok(()),
        answer => offered(answer)?,
    };
    let Some(status) = answer.and_then(|answer| answer.status) else { return Ok(()) };
    for what in &status.touched {
        diagnosis.note("radar: touched", what.clone());
    }
    if status.source == "polling" {
        diagnosis.note("radar", format!("it sees by lists of ids alone: {}", status.why));
    }
    Ok(())
}

/// Notes parts of the daemon's sandbox that root or the kernel disabled; these are not findings.
async fn cage(client: &mut Services, diagnosis: &mut Diagnosis) -> Result<(), CliError> {
    let Some(info) = offered(client.ext.info(ext::InfoRequest {}).await)? else { return Ok(()) };
    for part in info.cage.into_iter().filter(|part| !part.weakness.is_empty()) {
        diagnosis.note(format!("cage: {}", part.name), part.weakness);
    }
    Ok(())
}
