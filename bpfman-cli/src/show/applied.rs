//! Results of manifests: one line per object in tables, all details in JSON and YAML.

use bpfman_apply::report::{LinkOutcome, ProgramReport, Report, ReportedLoad};
use bpfman_apply::step::ApplyStep;
use serde::Serialize;

use super::CommandOutput;
use super::screen::Screen;

#[derive(Clone, Debug, Serialize)]
pub struct AppliedObjects {
    /// Objects, in the order of the manifests.
    pub objects: Vec<AppliedObject>,
}

#[derive(Clone, Debug, Serialize)]
pub struct AppliedObject {
    pub kind: &'static str,
    pub name: String,
    /// `created`, `changed`, `unchanged`, `deleted` or `failed`.
    pub outcome: &'static str,
    /// `loaded`, `older-runs`, `failed`, `unload-failed`, or `not-wanted` if the node selector excludes this machine.
    pub load: &'static str,
    /// Digest of the running image; null if it came from a file.
    pub image_digest: Option<String>,
    /// Steps that were done, in order.
    pub done: Vec<String>,
    pub notes: Vec<String>,
    /// Programs, in the order of the manifest.
    pub programs: Vec<AppliedProgram>,
    /// True if it was applied, but its node selector excludes this machine.
    #[serde(skip)]
    left_out: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct AppliedProgram {
    pub name: String,
    /// Type, as named in the manifest.
    #[serde(rename = "type")]
    pub program_type: &'static str,
    /// Kernel id; null if it is not loaded.
    pub program_id: Option<u32>,
    pub links: Vec<AppliedLink>,
    /// Problems with finding attach points.
    pub problems: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct AppliedLink {
    pub attachment: String,
    /// Id of the link; null if it is not attached.
    pub link_id: Option<u32>,
    /// `attached`, `not-attached`, `attach-failed` or `detach-failed`.
    pub state: &'static str,
    /// Reason of a failure; null if there is none.
    pub failure: Option<String>,
}

impl AppliedObject {
    /// Creates the result of an applied application.
    #[must_use]
    pub fn of_report(kind: &'static str, name: &str, report: &Report) -> Self {
        let failed = report.failure.is_some()
            || report.programs.iter().any(|program| !program.problems.is_empty() || has_failed(program));
        let outcome = match (failed, report.done.is_empty()) {
            (true, _) => "failed",
            (false, true) => "unchanged",
            (false, false) if report.created => "created",
            (false, false) => "changed",
        };
        let left_out = report.load == ReportedLoad::NotWanted && !failed;
        Self { left_out, ..Self::new(kind, name, outcome, report) }
    }

    /// Creates the result of a deleted application.
    #[must_use]
    pub fn of_deletion(kind: &'static str, name: &str, report: &Report) -> Self {
        let outcome = match (&report.failure, report.done.is_empty()) {
            (Some(_), _) => "failed",
            (None, true) => "unchanged",
            (None, false) => "deleted",
        };
        Self::new(kind, name, outcome, report)
    }

    fn new(kind: &'static str, name: &str, outcome: &'static str, report: &Report) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            outcome,
            load: match report.load {
                ReportedLoad::NotWanted => "not-wanted",
                ReportedLoad::Loaded => "loaded",
                ReportedLoad::OlderRuns => "older-runs",
                ReportedLoad::Failed => "failed",
                ReportedLoad::UnloadFailed => "unload-failed",
            },
            image_digest: Some(report.digest.clone()).filter(|digest| !digest.is_empty()),
            done: report.done.clone(),
            notes: report.notes.clone(),
            programs: report.programs.iter().map(AppliedProgram::from).collect(),
            left_out: false,
        }
    }

    fn line(&self) -> String {
        // Mention the node selector, or the user would look for the programs.
        let elsewhere = if self.left_out { ": its node selector leaves this machine out" } else { "" };
        format!("{}/{} {}{elsewhere}\n", self.kind.to_lowercase(), self.name, self.outcome)
    }
}

fn has_failed(program: &ProgramReport) -> bool {
    let failed =
        |status: &LinkOutcome| matches!(status, LinkOutcome::AttachFailed(_) | LinkOutcome::DetachFailed(_));
    program.links.iter().any(|link| failed(&link.status))
}

impl From<&ProgramReport> for AppliedProgram {
    fn from(program: &ProgramReport) -> Self {
        let links = program.links.iter().map(|link| AppliedLink {
            attachment: link.key.0.clone(),
            link_id: link.id,
            state: match link.status {
                LinkOutcome::Attached => "attached",
                LinkOutcome::NotAttached => "not-attached",
                LinkOutcome::AttachFailed(_) => "attach-failed",
                LinkOutcome::DetachFailed(_) => "detach-failed",
            },
            failure: match &link.status {
                LinkOutcome::AttachFailed(failure) | LinkOutcome::DetachFailed(failure) => {
                    Some(failure.message.clone())
                }
                LinkOutcome::Attached | LinkOutcome::NotAttached => None,
            },
        });
        Self {
            name: program.name.clone(),
            program_type: program.program_type,
            program_id: program.id,
            links: links.collect(),
            problems: program.problems.clone(),
        }
    }
}

impl CommandOutput for AppliedObjects {
    fn table(&self, _: Screen) -> String {
        self.objects.iter().map(AppliedObject::line).collect()
    }

    fn ids(&self) -> Vec<String> {
        let programs = self.objects.iter().flat_map(|object| &object.programs);
        programs.filter_map(|program| program.program_id).map(|id| id.to_string()).collect()
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct DiffedObjects {
    /// Objects, in the order of the manifests.
    pub objects: Vec<DiffedObject>,
}

/// Changes that `apply` would make to one object.
#[derive(Clone, Debug, Serialize)]
pub struct DiffedObject {
    pub kind: &'static str,
    pub name: String,
    /// Steps, in order; empty if there are none.
    pub steps: Vec<String>,
}

impl DiffedObject {
    /// Creates the result from the steps for an object.
    #[must_use]
    pub fn new(kind: &'static str, name: &str, steps: &[ApplyStep]) -> Self {
        Self { kind, name: name.to_owned(), steps: steps.iter().map(ToString::to_string).collect() }
    }
}

impl CommandOutput for DiffedObjects {
    fn table(&self, _: Screen) -> String {
        let mut text = String::new();
        for object in self.objects.iter().filter(|object| !object.steps.is_empty()) {
            text.push_str(&format!("{}/{}\n", object.kind.to_lowercase(), object.name));
            object.steps.iter().for_each(|step| text.push_str(&format!("  {step}\n")));
        }
        text
    }

    fn ids(&self) -> Vec<String> {
        let differs = self.objects.iter().filter(|object| !object.steps.is_empty());
        differs.map(|object| object.name.clone()).collect()
    }
}
