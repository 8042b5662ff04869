use std::collections::{BTreeMap, BTreeSet};

use bpfman_application::state::node::NodeFailure;
use bpfman_model::{Hint, ProgramType};

use crate::content::link_uuid;
use crate::desired::{AttachmentKey, Desired, Load, Program};
use crate::failure;
use crate::observed::{ObservedLink, ObservedProgram, ObservedPrograms, declared};
use crate::report::{LinkOutcome, LinkReport, ProgramReport, Report, ReportedLoad};
use crate::step_results::StepResults;

pub fn not_seen(desired: &Desired, failure: NodeFailure) -> Report {
    let load = if desired.load.is_some() { ReportedLoad::Failed } else { ReportedLoad::UnloadFailed };
    Report { load, failure: Some(failure), ..Report::default() }
}

pub fn refused(seen: &ObservedPrograms, failure: NodeFailure) -> Report {
    let load = if seen.programs.is_empty() { ReportedLoad::Failed } else { ReportedLoad::OlderRuns };
    let programs = seen.programs.iter().map(|program| still(program, &StepResults::default())).collect();
    Report {
        load,
        digest: digest(seen.programs.iter()),
        programs,
        failure: Some(failure),
        ..Report::default()
    }
}

pub fn removed(seen: &ObservedPrograms, came: StepResults) -> Report {
    let left: Vec<&ObservedProgram> =
        seen.programs.iter().filter(|program| came.not_unloaded.contains_key(&program.id)).collect();
    Report {
        load: if left.is_empty() { ReportedLoad::NotWanted } else { ReportedLoad::UnloadFailed },
        digest: digest(left.iter().copied()),
        programs: left.iter().map(|program| still(program, &came)).collect(),
        failure: came.failure,
        done: came.done,
        notes: came.notes,
        not_compared: came.not_compared,
        created: false,
    }
}

pub fn installed(
    load: &Load,
    versions: &BTreeMap<String, &ObservedProgram>,
    came: StepResults,
    outcome: ReportedLoad,
) -> Report {
    let owner = load.request.metadata.get(crate::content::UUID_KEY).cloned().unwrap_or_default();
    let of = |program: &Program| program_report(&owner, program, versions.get(&program.name).copied(), &came);
    Report {
        load: outcome,
        digest: digest(versions.values().copied()),
        programs: load.programs.iter().map(of).collect(),
        failure: came.failure,
        done: came.done,
        notes: came.notes,
        not_compared: came.not_compared,
        created: false,
    }
}

fn digest<'a>(mut programs: impl Iterator<Item = &'a ObservedProgram>) -> String {
    programs
        .find(|program| !program.digest.is_empty())
        .map(|program| program.digest.clone())
        .unwrap_or_default()
}

fn program_report(
    owner: &str,
    program: &Program,
    running: Option<&ObservedProgram>,
    came: &StepResults,
) -> ProgramReport {
    let there = |key: &AttachmentKey| {
        running.and_then(|running| {
            running.links.iter().find(|link| link.key == *key && !came.detached.contains(&link.id))
        })
    };
    let wanted = program.links.iter().map(|(key, link)| {
        let place = (program.name.clone(), key.clone());
        let before = there(key);
        let id = came.attached.get(&place).copied().or(before.map(|link| link.id));
        let status = match (came.not_attached.get(&place), id, before) {
            (Some(failure), ..) => LinkOutcome::AttachFailed(failure.clone()),
            (None, None, _) => LinkOutcome::NotAttached,
            (None, Some(id), Some(before)) if before.id == id && !before.is_in_force(&link.point) => {
                LinkOutcome::AttachFailed(differs(&program.name, before))
            }
            (None, Some(_), _) => LinkOutcome::Attached,
        };
        let uuid = before.map(|link| link.uuid.clone()).filter(|uuid| !uuid.is_empty());
        LinkReport {
            key: key.clone(),
            wanted: Some(link.clone()),
            kept: false,
            uuid: uuid.unwrap_or_else(|| link_uuid(owner, &program.name, &key.0)),
            id,
            status,
        }
    });
    let left = running.into_iter().flat_map(|running| &running.links);
    let left = left.filter_map(|link| {
        if let Some(failure) = came.not_detached.get(&link.id) {
            return Some(left_over(link, LinkOutcome::DetachFailed(failure.clone())));
        }
        let unknown = !program.links.contains_key(&link.key) && program.keeps(&link.key);
        let kept = unknown || came.held.contains(&link.id);
        let status = match link.runs {
            true => LinkOutcome::Attached,
            false => LinkOutcome::AttachFailed(differs(&program.name, link)),
        };
        kept.then(|| LinkReport { kept, ..left_over(link, status) })
    });
    ProgramReport {
        name: program.name.clone(),
        program_type: program.program_type,
        id: running.map(|running| running.id),
        links: wanted.chain(left).collect(),
        problems: program.problems.clone(),
        unmatched: program.unmatched.clone(),
        unknown: program.unknown.clone(),
    }
}

fn differs(program: &str, link: &ObservedLink) -> NodeFailure {
    let message = format!("link {} at {}: {}", link.id, link.attachment, link.state);
    let hint = format!("the daemon mends it when it can; {}", Hint::Doctor);
    NodeFailure { program: program.to_owned(), ..failure::failure("waiting", &message, &hint) }
}

fn left_over(link: &ObservedLink, status: LinkOutcome) -> LinkReport {
    LinkReport {
        key: link.key.clone(),
        wanted: None,
        kept: false,
        uuid: link.uuid.clone(),
        id: Some(link.id),
        status,
    }
}

fn still(program: &ObservedProgram, came: &StepResults) -> ProgramReport {
    let failure = came.not_unloaded.get(&program.id);
    let status = |_: &ObservedLink| match failure {
        Some(failure) => LinkOutcome::DetachFailed(failure.clone()),
        None => LinkOutcome::Attached,
    };
    ProgramReport {
        name: program.name.clone(),
        program_type: type_name(&program.declared),
        id: Some(program.id),
        links: program.links.iter().map(|link| left_over(link, status(link))).collect(),
        problems: Vec::new(),
        unmatched: Vec::new(),
        unknown: BTreeSet::new(),
    }
}

/// Returns the name of a declared type in manifests: for return probes, that of the entry probe.
fn type_name(of: &str) -> &'static str {
    let known = ProgramType::ALL.into_iter().find(|kind| declared(kind.name()) == of);
    // A newer daemon may have more types.
    known.and_then(ProgramType::manifest_name).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::UnknownPlace;
    use crate::step::{ApplyStep, link_steps};

    fn link(id: u32, pod: &str, state: &str) -> ObservedLink {
        let key = AttachmentKey(format!("eth0 in pod {pod} net:1:2"));
        ObservedLink { id, key, runs: state.is_empty(), state: state.to_owned(), ..ObservedLink::default() }
    }

    #[test]
    fn possibly_wanted_link_is_neither_detached_nor_omitted() {
        let links = vec![link(1, "a", ""), link(2, "b", ""), link(3, "c", "lost: after the boot")];
        let running = ObservedProgram { name: "guard".to_owned(), links, ..ObservedProgram::default() };
        let unknown = [UnknownPlace::Pod("a".to_owned()), UnknownPlace::Pod("c".to_owned())].into();
        let program = Program {
            name: "guard".to_owned(),
            program_type: "XDP",
            links: BTreeMap::new(),
            problems: Vec::new(),
            unmatched: Vec::new(),
            unknown,
        };
        let load = Load { programs: vec![program], ..Load::default() };
        let versions = BTreeMap::from([("guard".to_owned(), &running)]);
        let seen = ObservedPrograms { programs: vec![running.clone()] };
        let steps = link_steps(&load, &versions, &seen, true);
        let gone = ApplyStep::Detach {
            program: "guard".to_owned(),
            key: link(2, "b", "").key,
            link: 2,
            instead: vec![],
        };
        assert_eq!(steps, [gone]);
        let report = installed(&load, &versions, StepResults::default(), ReportedLoad::Loaded);
        let shown: Vec<_> = report.programs[0].links.iter().map(|link| (link.id, link.kept)).collect();
        assert_eq!(shown, [(Some(1), true), (Some(3), true)]);
        assert_eq!(report.programs[0].links[0].status, LinkOutcome::Attached);
        assert!(matches!(report.programs[0].links[1].status, LinkOutcome::AttachFailed(_)));
    }
}
