//! Programs of a run and their hooks, chosen before anything is loaded.

use bpfman_model::{AttachPoint, Hint, ProgramType, WrittenPoint};
use bpfmand_object::{ObjectFile, ProgramEntry};

use crate::args::named_hook::NamedHook;
use crate::args::value::ProgramSpec;
use crate::error::CliError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedProgram {
    pub name: String,
    pub spec: ProgramSpec,
    pub program_type: Option<ProgramType>,
    /// Hooks to attach to; empty if programs of this type do not attach.
    pub hooks: Vec<WrittenPoint>,
}

impl PlannedProgram {
    /// Returns the name of the type as which the program is loaded.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        type_name(self.program_type)
    }

    /// Returns whether the program has no hook: processes open its pin and run it, as with socket filters.
    #[must_use]
    pub fn is_for_openers(&self) -> bool {
        self.hooks.is_empty() && self.program_type.is_some_and(|of| of.hook_form().is_none())
    }
}

fn invalid<T>(what: String, hint: impl Into<Option<Hint>>) -> Result<T, CliError> {
    Err(CliError::Invalid { what, hint: hint.into() })
}

/// Chooses programs and hooks. Every program needs a hook; a hook without a program's name has to fit exactly one.
pub fn plan(
    object: &ObjectFile,
    names: &[String],
    hooks: &[NamedHook],
) -> Result<Vec<PlannedProgram>, CliError> {
    let chosen = choose(object, names, hooks)?;
    let mut hooks_of: Vec<Vec<WrittenPoint>> = vec![Vec::new(); chosen.len()];
    for NamedHook { program, hook } in hooks {
        let fits = |entry: &ProgramEntry| type_of(entry).and_then(|of| hook.takes(of)).is_some();
        let fitting: Vec<usize> = (0..chosen.len())
            .filter(|index| program.as_ref().is_none_or(|name| chosen[*index].name == *name))
            .filter(|index| fits(chosen[*index]))
            .collect();
        match (fitting[..].as_ref(), program) {
            ([one], _) => hooks_of[*one].push(hook.clone()),
            ([], Some(name)) => {
                let of = chosen.iter().find(|entry| entry.name == *name).and_then(|entry| type_of(entry));
                return invalid(
                    format!("program \"{name}\" of type {} cannot be attached to {hook}", type_name(of)),
                    of.and_then(ProgramType::hook_form).map(|form| format!("it can be to {form}").into()),
                );
            }
            ([], None) => {
                return invalid(format!("no program can be attached to {hook}: {}", listed(&chosen)), None);
            }
            (several, _) => {
                let names: Vec<&str> = several.iter().map(|index| chosen[*index].name.as_str()).collect();
                // All of them are members of the structure: choose the first.
                if matches!(hook.point, AttachPoint::StructOps { .. }) {
                    hooks_of[several[0]].push(hook.clone());
                    continue;
                }
                return invalid(
                    format!("{hook} fits several programs: {}", names.join(", ")),
                    Hint::from(format!("name the one that is meant: --attach {}={hook}", names[0])),
                );
            }
        }
    }
    // A struct_ops map is attached once, through any of its programs.
    let has_structure =
        hooks_of.iter().flatten().any(|hook| matches!(hook.point, AttachPoint::StructOps { .. }));
    chosen.iter().zip(hooks_of).map(|(entry, hooks)| planned(entry, hooks, has_structure)).collect()
}

fn choose<'o>(
    object: &'o ObjectFile,
    names: &[String],
    hooks: &[NamedHook],
) -> Result<Vec<&'o ProgramEntry>, CliError> {
    for name in names.iter().chain(hooks.iter().filter_map(|hook| hook.program.as_ref())) {
        let entry = object
            .program(name)
            .map_err(|error| CliError::Invalid { what: error.to_string(), hint: None })?;
        if entry.family.program_type().is_none() {
            return invalid(
                format!(
                    "program \"{name}\" is of section \"{}\", which the daemon does not load",
                    entry.section
                ),
                None,
            );
        }
        if !names.is_empty() && !names.contains(name) {
            return invalid(
                format!("--attach names program \"{name}\", which is not among those that are to run"),
                None,
            );
        }
    }
    let is_meant = |entry: &&ProgramEntry| {
        let hooked = || hooks.iter().any(|hook| hook.program.as_ref() == Some(&entry.name));
        match names {
            [] => entry.family.program_type().is_some() && (!entry.section.starts_with('?') || hooked()),
            names => names.contains(&entry.name),
        }
    };
    let chosen: Vec<&ProgramEntry> = object.programs().iter().filter(is_meant).collect();
    if chosen.is_empty() {
        return invalid(
            "the object has no program that can run by itself".to_owned(),
            Hint::from("sections with a ? in front are loaded if they are named: bpfman run FILE PROGRAM"),
        );
    }
    Ok(chosen)
}

const fn type_of(entry: &ProgramEntry) -> Option<ProgramType> {
    entry.family.program_type()
}

fn type_name(program_type: Option<ProgramType>) -> &'static str {
    program_type.map_or("", ProgramType::name)
}

fn listed(chosen: &[&ProgramEntry]) -> String {
    let each = |entry: &&ProgramEntry| format!("{} is of type {}", entry.name, type_name(type_of(entry)));
    chosen.iter().map(each).collect::<Vec<_>>().join(", ")
}

fn planned(
    entry: &ProgramEntry,
    mut hooks: Vec<WrittenPoint>,
    has_structure: bool,
) -> Result<PlannedProgram, CliError> {
    let own = type_of(entry);
    if hooks.is_empty() {
        hooks.extend(own.and_then(|of| WrittenPoint::of_section(of, entry.attach_target.as_deref())));
    }
    let is_member = has_structure && own == Some(ProgramType::StructOps);
    if let (true, Some(form)) = (hooks.is_empty() && !is_member, own.and_then(ProgramType::hook_form)) {
        return invalid(
            format!(
                "program \"{}\" of type {}: its section \"{}\" does not say where it attaches",
                entry.name,
                type_name(own),
                entry.section
            ),
            Hint::from(format!("say it: --attach {}={form}", entry.name)),
        );
    }
    let mut types: Vec<ProgramType> =
        hooks.iter().filter_map(|hook| own.and_then(|of| hook.takes(of))).collect();
    types.dedup();
    let program_type = match &types[..] {
        [] => own,
        [one] => Some(*one),
        several => {
            let names: Vec<_> = several.iter().map(|of| of.name()).collect();
            return invalid(
                format!("program \"{}\" cannot be loaded as {} at once", entry.name, names.join(" and as ")),
                Hint::from("run it once for each"),
            );
        }
    };
    let target = hooks.iter().find_map(|hook| hook.target.as_ref()).or(entry.attach_target.as_ref());
    let target = target.filter(|_| own.is_some_and(ProgramType::needs_load_target));
    let target = target.map(|target| format!(":{target}")).unwrap_or_default();
    let spec = format!("{}:{}{target}", type_name(program_type), entry.name).parse()?;
    Ok(PlannedProgram { name: entry.name.clone(), spec, program_type, hooks })
}
