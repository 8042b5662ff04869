//! Dry run: loads and attaches up to the kernel's verdict, and discards everything.

use bpfman_application::state::node::NodeFailure;
use bpfman_proto::Reason;
use bpfman_proto::ext::v1 as ext;

use crate::credentials::{self, RegistryCredentials};
use crate::daemon::Daemon;
use crate::desired::{Desired, Load};
use crate::failure::{CallRefusal, Unreachable, failure, of_message, refusal};
use crate::observed::{ObservedPrograms, latest, observe};
use crate::place::on_the_wire;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct DryRunResult {
    /// True if the kernel accepted every program and every chain.
    pub accepted: bool,
    /// True if nothing was tried because nothing is wanted here.
    pub skipped: bool,
    /// First rejection; its message begins with the decisive line of the verifier, if there is one.
    pub failure: Option<NodeFailure>,
    /// Number of instructions that the verifier processed, over all programs and chains.
    pub verified_instructions: u64,
    /// Digest of the image, if the programs came from one.
    pub digest: String,
    /// Kernel release, as `uname -r` prints it.
    pub kernel: String,
    /// Hash over the programs that share the hooks with these.
    pub composition: String,
    /// Full response of the daemon, for tables and logs.
    pub answer: ext::DryRunResponse,
}

/// Makes the daemon load, attach and discard everything, in chains without the programs that the owner already runs.
pub async fn dry_run(
    daemon: &Daemon,
    desired: &Desired,
    credentials: Option<&RegistryCredentials>,
) -> Result<DryRunResult, Unreachable> {
    if let Some(problem) = desired.refused.first() {
        return Ok(refused(failure(Reason::Invalid.name(), &problem.to_string(), "correct the application")));
    }
    let Some(load) = &desired.load else {
        return Ok(DryRunResult { accepted: true, skipped: true, ..DryRunResult::default() });
    };
    let seen = match observe(daemon, desired).await? {
        Ok(seen) => seen,
        Err(refusal) => return Ok(refused(refusal.failure())),
    };
    match daemon.node().dry_run(request(load, &seen, credentials)).await {
        Ok(answer) => Ok(trial(answer.into_inner())),
        Err(status) => Ok(refused(refusal(daemon, &status).map(CallRefusal::failure)?)),
    }
}

fn request(load: &Load, seen: &ObservedPrograms, with: Option<&RegistryCredentials>) -> ext::DryRunRequest {
    let attachments = load.programs.iter().flat_map(|program| {
        program.links.values().map(|link| {
            let (attach, point) = link.point.clone().into_fields();
            let order = link.order.as_ref().map(on_the_wire);
            ext::DryRunAttachment { program: program.name.clone(), attach, order, isolated: false, point }
        })
    });
    ext::DryRunRequest {
        load: Some(credentials::with(load.request.clone(), with)),
        attachments: attachments.collect(),
        replaces: latest(&seen.programs).values().map(|program| program.id).collect(),
        values: load.values.clone(),
    }
}

fn refused(failure: NodeFailure) -> DryRunResult {
    DryRunResult { failure: Some(failure), ..DryRunResult::default() }
}

fn trial(answer: ext::DryRunResponse) -> DryRunResult {
    let parts = || answer.programs.iter().chain(&answer.chains);
    let of_part = |part: &ext::DryRunPart| {
        let mut failure = of_message(part.failure.as_ref()?);
        if !part.verifier_line.is_empty() && !failure.message.contains(&part.verifier_line) {
            failure = crate::failure::failure(
                &failure.reason,
                &format!("{}: {}", part.verifier_line, failure.message),
                &failure.hint,
            );
        }
        failure.program = part.name.clone();
        Some(failure)
    };
    DryRunResult {
        accepted: answer.accepted,
        skipped: false,
        failure: answer.failure.as_ref().map(of_message).or_else(|| parts().find_map(of_part)),
        verified_instructions: parts().map(|part| u64::from(part.verified_insns)).sum(),
        digest: answer.image_digest.clone(),
        kernel: answer.kernel_release.clone(),
        composition: answer.composition.clone(),
        answer,
    }
}
