//! `bpfman doctor`: everything that was asked for, compared with what the kernel runs.

use bpfman_client::Services;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;

use super::connect;
use crate::args::Global;
use crate::error::CliError;
use crate::hook::HookName;
use crate::show;
use crate::show::diagnosis::Diagnosis;
use crate::show::verified::VerifiedChain;

/// Looks at everything, and fails if anything differs.
pub async fn run(global: &Global) -> Result<(), CliError> {
    let mut client = connect(global).await?;
    let mut diagnosis = Diagnosis::default();
    programs(&mut client, &mut diagnosis).await?;
    links(&mut client, &mut diagnosis).await?;
    hooks(&mut client, &mut diagnosis).await?;
    matches(&mut client, &mut diagnosis).await?;
    strays(&mut client, &mut diagnosis).await?;
    provenance(&mut client, &mut diagnosis).await?;
    cage(&mut client, &mut diagnosis).await?;
    show::answer(global, &diagnosis)?;
    match diagnosis.findings.len() {
        0 => Ok(()),
        count => Err(CliError::Differs {
            what: if count == 1 { "1 finding".to_owned() } else { format!("{count} findings") },
            hint: "restart the daemon: it puts back what its records say, or says why it cannot",
        }),
    }
}

/// True for what is not as it was put; not for programs of others, which nobody compares.
const fn differs(standing: ext::Standing) -> bool {
    !matches!(standing, ext::Standing::Running | ext::Standing::Unspecified)
}

/// What the daemon answers; none if it is one that does not do this.
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
    for program in answer.programs.iter().filter(|program| differs(program.standing())) {
        let id = program.kernel_info.as_ref().map_or(0, |kernel| kernel.id);
        diagnosis.found(format!("program {id}"), program.state.clone());
    }
    Ok(())
}

async fn links(client: &mut Services, diagnosis: &mut Diagnosis) -> Result<(), CliError> {
    let answer = client.ext.list_links(ext::ListLinksRequest::default()).await?.into_inner();
    diagnosis.checked.links = answer.links.len();
    for link in answer.links.iter().filter(|link| differs(link.standing())) {
        diagnosis.found(format!("link {}", link.id), link.state.clone());
    }
    Ok(())
}

async fn hooks(client: &mut Services, diagnosis: &mut Diagnosis) -> Result<(), CliError> {
    let Some(answer) = offered(client.chains.list_hooks(ext::ListHooksRequest {}).await)? else {
        return Ok(());
    };
    for summary in &answer.hooks {
        if differs(summary.standing()) {
            // What is known to be gone is not built again: one finding says it.
            diagnosis.found(summary.hook.clone(), summary.state.clone());
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
                    diagnosis.found(summary.hook.clone(), difference);
                }
            }
            // Detached since it was listed.
            Err(status) if status.code() == tonic::Code::NotFound => {}
            Err(status) => diagnosis.found(summary.hook.clone(), status.message()),
        }
    }
    Ok(())
}

/// Holds programs against the signature policy as it is now: keys, identities and digests may have been revoked.
async fn provenance(client: &mut Services, diagnosis: &mut Diagnosis) -> Result<(), CliError> {
    let answer = match client.images.check_provenance(ext::CheckProvenanceRequest {}).await {
        // A policy that cannot be followed is a finding of its own.
        Err(status) if status.code() == tonic::Code::PermissionDenied => {
            diagnosis.found("policy", status.message());
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
        diagnosis.found(format!("program {id}"), format!("{why} ({source}); {action}"));
    }
    Ok(())
}

/// What runs without a record, and pins that nobody finds.
async fn strays(client: &mut Services, diagnosis: &mut Diagnosis) -> Result<(), CliError> {
    let Some(answer) = offered(client.chains.list_strays(ext::ListStraysRequest {}).await)? else {
        return Ok(());
    };
    if !answer.pins_problem.is_empty() {
        diagnosis.found("bpffs", answer.pins_problem);
    }
    for stray in answer.strays {
        diagnosis.found(format!("stray {}", stray.pin), stray.description);
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
            diagnosis.found(format!("match {}", matching.id), failure.clone());
        }
    }
    Ok(())
}

/// What root or the kernel took off the daemon's cage: told, and no difference from what was asked for.
async fn cage(client: &mut Services, diagnosis: &mut Diagnosis) -> Result<(), CliError> {
    let Some(info) = offered(client.ext.info(ext::InfoRequest {}).await)? else { return Ok(()) };
    for part in info.cage.into_iter().filter(|part| !part.weakness.is_empty()) {
        diagnosis.note(format!("cage: {}", part.name), part.weakness);
    }
    Ok(())
}
