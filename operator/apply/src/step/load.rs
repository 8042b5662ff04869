use std::collections::BTreeMap;

use super::ApplyStep;
use crate::desired::{Load, Program};
use crate::observed::{ObservedProgram, ObservedPrograms, declared, latest};

/// Returns the step that loads the wanted version, or `None` if it runs.
pub fn load_step(load: &Load, seen: &ObservedPrograms, digest: Option<&str>) -> Option<ApplyStep> {
    if current(load, seen, digest).len() == load.programs.len() {
        return None;
    }
    let latest = latest(&seen.programs);
    // A program that does not run cannot be replaced; attachments of another agent have no keys and would stay beside
    // the new ones. In both cases the new version is loaded beside the old one, which is then unloaded.
    let replaceable = |program: &&ObservedProgram| program.runs && !program.content.is_empty();
    if latest.is_empty() || !latest.values().all(replaceable) {
        return Some(ApplyStep::Load {
            programs: load.programs.iter().map(|program| program.name.clone()).collect(),
        });
    }
    let why = why(load, &latest, digest);
    Some(ApplyStep::Replace { old: latest.values().map(|program| program.id).collect(), why })
}

fn why(load: &Load, latest: &BTreeMap<(&str, &str), &ObservedProgram>, digest: Option<&str>) -> String {
    let wanted: Vec<(&str, String)> =
        load.programs.iter().map(|program| (program.name.as_str(), declared(program.program_type))).collect();
    let new = wanted.iter().filter(|(name, kind)| !latest.contains_key(&(*name, kind.as_str())));
    let gone =
        latest.keys().filter(|(name, kind)| !wanted.iter().any(|one| one.0 == *name && one.1 == *kind));
    let mut parts: Vec<String> = new.map(|(name, _)| format!("{name} is not loaded")).collect();
    parts.extend(gone.map(|(name, _)| format!("{name} is not wanted any more")));
    let moved = digest.filter(|digest| latest.values().any(|program| program.digest != **digest));
    if let Some(digest) = moved {
        parts.push(format!("the image is now {digest}"));
    }
    let other = |sha256: &String| latest.values().any(|program| program.object_sha256 != *sha256);
    if load.object_sha256.as_ref().is_some_and(other) {
        parts.push("the object file is another one".to_owned());
    }
    if latest.values().any(|program| program.inherited) {
        parts.push("it was loaded for another object of this application".to_owned());
    }
    if parts.is_empty() {
        parts.push("bytecode, globals or what was loaded for differ".to_owned());
    }
    parts.join("; ")
}

/// Returns the running programs of the wanted version, by name.
pub fn current<'a>(
    load: &Load,
    seen: &'a ObservedPrograms,
    digest: Option<&str>,
) -> BTreeMap<String, &'a ObservedProgram> {
    of_load(load, seen.programs.iter().filter(|program| program.is_current(load, digest)))
}

/// Returns the latest version of each wanted program, by name.
pub fn newest<'a>(load: &Load, seen: &'a ObservedPrograms) -> BTreeMap<String, &'a ObservedProgram> {
    of_load(load, &seen.programs)
}

fn of_load<'a>(
    load: &Load,
    programs: impl IntoIterator<Item = &'a ObservedProgram>,
) -> BTreeMap<String, &'a ObservedProgram> {
    let latest = latest(programs);
    let of = |program: &Program| {
        let kind = declared(program.program_type);
        latest.get(&(program.name.as_str(), kind.as_str())).map(|found| (program.name.clone(), *found))
    };
    load.programs.iter().filter_map(of).collect()
}

pub(super) fn after(load: &Load, seen: &ObservedPrograms, step: &ApplyStep) -> ObservedPrograms {
    let kept = match step {
        ApplyStep::Replace { .. } => newest(load, seen),
        _ => BTreeMap::new(),
    };
    let of = |program: &Program| ObservedProgram {
        name: program.name.clone(),
        declared: declared(program.program_type),
        links: kept.get(&program.name).map(|old| old.links.clone()).unwrap_or_default(),
        ..ObservedProgram::default()
    };
    ObservedPrograms { programs: load.programs.iter().map(of).collect() }
}
