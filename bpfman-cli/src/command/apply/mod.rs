//! `bpfman apply`, `diff` and `delete`: applications on this machine, by the code of a cluster's node agent.

mod machine;
mod manifest;

use bpfman_application::bytecode::ImagePullPolicy;
use bpfman_application::spec::ApplicationSpec;
use bpfman_apply::credentials::RegistryCredentials;
use bpfman_apply::daemon::Daemon;
use bpfman_apply::desired::Desired;
use bpfman_apply::failure::Unreachable;
use bpfman_apply::report::{LinkOutcome, Report, ReportedLoad};
use bpfman_apply::{content, plan, reconcile};
use bpfman_image_format::ImageReference;
use bpfman_model::Hint;
use bpfman_proto::Reason;

use self::manifest::{ManifestApplication, applications, names, owner};
use super::{connect, image, list, progress};
use crate::args::Global;
use crate::args::apply::{Apply, Delete, Diff, Machine};
use crate::error::CliError;
use crate::show;
use crate::show::applied::{AppliedObject, AppliedObjects, DiffedObject, DiffedObjects};

/// Applies the manifests. If one fails, the others are applied nevertheless.
pub async fn apply(global: &Global, command: Apply) -> Result<(), CliError> {
    let applications = applications(&command.manifests.file)?;
    let daemon = daemon(global).await?;
    let desired = desired(global, &daemon, &command.machine, &applications).await?;
    let mut objects = Vec::new();
    let mut failures = Vec::new();
    let all = applications.len();
    for (number, (application, desired)) in applications.iter().zip(&desired).enumerate() {
        notes(application);
        let credentials = credentials(application, &command.machine)?;
        let what = format!("applying {} ({} of {all})", application.name, number + 1);
        let work = reconcile::reconcile(&daemon, desired, credentials.as_ref());
        let report = progress::while_waiting(global, &what, work)
            .await
            .map_err(|error| unreachable(global, &error))?;
        report.notes.iter().for_each(|note| progress::warn(&format!("{}: {note}", application.name)));
        failures.extend(failure_of(&application.name, &report));
        objects.push(AppliedObject::of_report(manifest::KIND, &application.name, &report));
    }
    show::answer(global, &AppliedObjects { objects })?;
    all_of(failures)
}

pub async fn diff(global: &Global, command: Diff) -> Result<(), CliError> {
    let applications = applications(&command.manifests.file)?;
    let daemon = daemon(global).await?;
    let desired = desired(global, &daemon, &command.machine, &applications).await?;
    let mut objects = Vec::new();
    for (application, desired) in applications.iter().zip(&desired) {
        let steps = reconcile::diff(&daemon, desired).await.map_err(|error| unreachable(global, &error))?;
        objects.push(DiffedObject::new(manifest::KIND, &application.name, &steps));
    }
    let changes = objects.iter().map(|object| object.steps.len()).sum::<usize>();
    show::answer(global, &DiffedObjects { objects })?;
    if changes == 0 {
        Ok(())
    } else {
        Err(CliError::Changes {
            files: command.manifests.file.iter().map(|file| file.display().to_string()).collect(),
        })
    }
}

pub async fn delete(global: &Global, command: Delete) -> Result<(), CliError> {
    let daemon = daemon(global).await?;
    let names = match &command.name[..] {
        [] => names(&command.file)?,
        names => {
            ensure_applied(global, names).await?;
            names.to_vec()
        }
    };
    let mut objects = Vec::new();
    let mut failures = Vec::new();
    for name in names {
        let desired = Desired::nothing(owner(&name));
        let report = reconcile::reconcile(&daemon, &desired, None)
            .await
            .map_err(|error| unreachable(global, &error))?;
        failures.extend(failure_of(&name, &report));
        objects.push(AppliedObject::of_deletion(manifest::KIND, &name, &report));
    }
    show::answer(global, &AppliedObjects { objects })?;
    all_of(failures)
}

/// Refuses names for which `apply` made no application: they are probably typing errors.
async fn ensure_applied(global: &Global, names: &[String]) -> Result<(), CliError> {
    let there = list::applications_of(&mut connect(global).await?).await?.applications;
    let is_there = |name: &&String| there.iter().any(|one| one.name == **name && one.by == "apply");
    let Some(missing) = names.iter().find(|name| !is_there(name)) else { return Ok(()) };
    let hint = match there.iter().find(|one| one.name == *missing) {
        Some(other) if other.by == "load" => {
            let ids: Vec<String> = other.programs.iter().map(u32::to_string).collect();
            format!("its programs were loaded without a manifest: `bpfman unload {}`", ids.join(" ")).into()
        }
        Some(_) => {
            format!("an object of the cluster made it: `kubectl delete clusterbpfapplication {missing}`")
                .into()
        }
        None => Hint::ListApplications,
    };
    Err(CliError::NoEntry { what: format!("`bpfman apply` made no application {missing}"), hint })
}

async fn daemon(global: &Global) -> Result<Daemon, CliError> {
    Ok(Daemon::over(connect(global).await?.channel))
}

async fn desired(
    global: &Global,
    daemon: &Daemon,
    machine: &Machine,
    applications: &[ManifestApplication],
) -> Result<Vec<Desired>, CliError> {
    let facts = machine::facts(daemon, &machine.label).await.map_err(|error| unreachable(global, &error))?;
    let of = |application: &ManifestApplication| {
        let spec = ApplicationSpec::from(application.spec.clone());
        let mut desired = plan::desired(&application.owner(), &spec, &facts);
        if let (Some(load), Some(path)) = (&mut desired.load, &application.spec.common.byte_code.path) {
            load.object_sha256 = content::of_file(path);
        }
        desired
    };
    Ok(applications.iter().map(of).collect())
}

fn notes(application: &ManifestApplication) {
    let common = &application.spec.common;
    if common.rollout.is_some() {
        progress::warn(&format!(
            "{}: spec.rollout counts in a cluster only; here all is changed at once",
            application.name
        ));
    }
    if common.byte_code.image.as_ref().is_some_and(|image| image.image_pull_secret.is_some()) {
        progress::warn(&format!(
            "{}: spec.byteCode.image.imagePullSecret counts in a cluster only; here --registry-auth does",
            application.name
        ));
    }
}

fn credentials(
    application: &ManifestApplication,
    machine: &Machine,
) -> Result<Option<RegistryCredentials>, CliError> {
    let Some(source) = &application.spec.common.byte_code.image else { return Ok(None) };
    if source.image_pull_policy == ImagePullPolicy::Never {
        return Ok(None);
    }
    let found = match source.url.parse::<ImageReference>() {
        Ok(reference) => image::credential::of(&reference, machine.registry_auth.clone())?,
        // The daemon reports the invalid name.
        Err(_) => machine.registry_auth.clone(),
    };
    Ok(found.map(|found| RegistryCredentials {
        username: found.user().to_owned(),
        password: found.password().to_owned(),
    }))
}

fn unreachable(global: &Global, error: &Unreachable) -> CliError {
    CliError::Unreachable {
        path: global.socket_path.clone(),
        source: std::io::Error::other(error.why.clone()),
    }
}

/// Reports each failure; the command returns the first.
fn all_of(failures: Vec<CliError>) -> Result<(), CliError> {
    let mut failures = failures.into_iter();
    let Some(first) = failures.next() else { return Ok(()) };
    failures.for_each(|failure| failure.report());
    Err(first)
}

fn failure_of(name: &str, report: &Report) -> Option<CliError> {
    let waits = || {
        let mut links = report.programs.iter().flat_map(|program| &program.links);
        links.find_map(|link| match &link.status {
            LinkOutcome::AttachFailed(failure) | LinkOutcome::DetachFailed(failure) => Some(failure.clone()),
            LinkOutcome::Attached | LinkOutcome::NotAttached => None,
        })
    };
    if let Some(failure) = report.failure.clone().or_else(waits) {
        let older = match report.load {
            ReportedLoad::OlderRuns => "; the older version runs on",
            _ => "",
        };
        let program =
            if failure.program.is_empty() { String::new() } else { format!(": {}", failure.program) };
        return Some(CliError::Apply {
            what: format!("{name}{program}: {}{older}", failure.message),
            reason: failure.reason,
            hint: failure.hint,
        });
    }
    let problem = report.programs.iter().find_map(|program| {
        program.problems.first().map(|problem| format!("{name}: {}: {problem}", program.name))
    });
    problem.map(|what| CliError::Apply {
        what,
        reason: Reason::NotFound.name().to_owned(),
        hint: String::new(),
    })
}
