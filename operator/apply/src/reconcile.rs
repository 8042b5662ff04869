//! Reconciliation of the daemon with the desired state.
//!
//! Stateless: it reads the daemon's state first, so that a call after a crash continues where the previous one stopped.

use bpfman_proto::Reason;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1::bytecode_location::Location;

pub use crate::credentials::RegistryCredentials;
use crate::daemon::Daemon;
use crate::desired::{Desired, Load};
use crate::failure::{self, CallRefusal, refusal};
use crate::observed::{ObservedPrograms, observe};
use crate::report::{Report, ReportedLoad};
use crate::result;
use crate::run::Run;
use crate::step::{ApplyStep, current, link_steps, load_step, newest, steps};

pub use crate::dry_run::{DryRunResult, dry_run};
pub use crate::failure::Unreachable;

/// Makes the calls that lead to the desired state. Fails only as [`Unreachable`]: other errors are in the report.
pub async fn reconcile(
    daemon: &Daemon,
    desired: &Desired,
    credentials: Option<&RegistryCredentials>,
) -> Result<Report, Unreachable> {
    let seen = match observe(daemon, desired).await? {
        Ok(seen) => seen,
        Err(refusal) => return Ok(result::not_seen(desired, refusal.failure())),
    };
    let mut run = Run { daemon, owner: &desired.owner, came: Default::default() };
    if let Some(problem) = desired.refused.first() {
        let hint = "correct the application; nothing was changed";
        let failure = failure::failure(Reason::Invalid.name(), &problem.to_string(), hint);
        return Ok(result::refused(&seen, failure));
    }
    let Some(load) = &desired.load else {
        let steps = steps(desired, &seen, None);
        run.steps(&Load::default(), &Default::default(), &steps).await?;
        return Ok(result::removed(&seen, run.came));
    };
    let mut digest = None;
    if load_step(load, &seen, None).is_none() {
        match moved_digest(daemon, load, credentials).await? {
            Ok(now) => digest = now,
            Err(refusal) => {
                let failure = refusal.failure();
                run.came.notes.push(format!("whether the image moved is not known: {}", failure.message));
                run.came.not_compared = Some(failure);
            }
        }
    }
    let Some(step) = load_step(load, &seen, digest.as_deref()) else {
        let versions = current(load, &seen, digest.as_deref());
        let steps = link_steps(load, &versions, &seen, true);
        run.steps(load, &versions, &steps).await?;
        return Ok(result::installed(load, &versions, run.came, ReportedLoad::Loaded));
    };
    let loaded = match &step {
        _ if load.held.is_some() => {
            run.came.failure = load.held.clone();
            false
        }
        ApplyStep::Replace { old, why } => run.replace(load, old, why, credentials).await?,
        _ => run.load(load, credentials).await?,
    };
    let now = match observe(daemon, desired).await? {
        Ok(now) => now,
        Err(refusal) => return Ok(result::not_seen(desired, refusal.failure())),
    };
    if loaded {
        let versions = current(load, &now, None);
        let left_out = versions
            .iter()
            .flat_map(|(name, program)| program.warnings.iter().map(move |text| format!("{name}: {text}")));
        run.came.notes.extend(left_out);
        let steps = link_steps(load, &versions, &now, true);
        run.steps(load, &versions, &steps).await?;
        let report = result::installed(load, &versions, run.came, ReportedLoad::Loaded);
        return Ok(Report { created: seen.programs.is_empty(), ..report });
    }
    older(run, load, &now).await
}

/// Attaches the older version as wanted, if the new one cannot be loaded: new pods get their programs.
async fn older(mut run: Run<'_>, load: &Load, now: &ObservedPrograms) -> Result<Report, Unreachable> {
    if !now.programs.iter().any(|program| program.runs) {
        return Ok(result::installed(load, &Default::default(), run.came, ReportedLoad::Failed));
    }
    let programs = now.programs.iter().filter(|program| program.runs).cloned().collect();
    let now = ObservedPrograms { programs };
    let versions = newest(load, &now);
    let steps = link_steps(load, &versions, &now, false);
    run.steps(load, &versions, &steps).await?;
    Ok(result::installed(load, &versions, run.came, ReportedLoad::OlderRuns))
}

/// Returns the steps that would be done, without changing anything.
pub async fn diff(daemon: &Daemon, desired: &Desired) -> Result<Vec<ApplyStep>, Unreachable> {
    // If the daemon denies the list, continue: the calls that would change something report the error.
    let seen = observe(daemon, desired).await?.unwrap_or_default();
    let digest = match &desired.load {
        Some(load) if load_step(load, &seen, None).is_none() => {
            moved_digest(daemon, load, None).await?.unwrap_or_default()
        }
        _ => None,
    };
    Ok(steps(desired, &seen, digest.as_deref()))
}

async fn moved_digest(
    daemon: &Daemon,
    load: &Load,
    credentials: Option<&RegistryCredentials>,
) -> Result<Result<Option<String>, CallRefusal>, Unreachable> {
    let request = crate::credentials::with(load.request.clone(), credentials);
    let image = match request.bytecode.and_then(|bytecode| bytecode.location) {
        Some(Location::Image(image)) if image.image_pull_policy == ALWAYS => image,
        _ => return Ok(Ok(None)),
    };
    let mut events =
        match daemon.ext().pull(ext::PullRequest { image: Some(image), want_object: false }).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return refusal(daemon, &status).map(Err),
        };
    let mut digest = None;
    loop {
        match events.message().await {
            Ok(Some(event)) => digest = Some(event.digest).filter(|digest| !digest.is_empty()).or(digest),
            Ok(None) => return Ok(Ok(digest)),
            Err(status) => return refusal(daemon, &status).map(Err),
        }
    }
}

const ALWAYS: i32 = 0;
