use std::collections::HashSet;

use crate::functions::{FunctionKey, Functions};
use crate::object_file::ObjectFile;
use crate::references::Reference;
use crate::section_family::{SectionFamily, parse_section};

/// Program of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramEntry {
    pub name: String,
    /// Name of its section as written in the file.
    pub section: String,
    /// Type that the section name stands for.
    pub family: SectionFamily,
    /// Attach target in the section name: function, `category/name` (tracepoint), `path:function` (uprobe), LSM hook.
    pub attach_target: Option<String>,
    /// Set for programs that may sleep (`.s` sections).
    pub sleepable: bool,
    /// Set for programs that handle packets in several buffers (`xdp.frags`).
    pub frags: bool,
    /// Set for a `static` function.
    pub is_static: bool,
    pub(crate) key: FunctionKey,
}

impl ProgramEntry {
    /// Creates an entry for a program that another process found and links.
    #[must_use]
    pub fn of_section(name: String, section: String, is_static: bool) -> Self {
        Self::at(FunctionKey { section: 0, offset: 0 }, name, section, is_static)
    }

    fn at(key: FunctionKey, name: String, section: String, is_static: bool) -> Self {
        let parsed = parse_section(&section);
        Self {
            name,
            section,
            family: parsed.family,
            attach_target: parsed.attach_target,
            sleepable: parsed.sleepable,
            frags: parsed.frags,
            is_static,
            key,
        }
    }
}

pub(crate) fn is_library_section(name: &str) -> bool {
    name == ".text" || name.starts_with(".text.")
}

/// Returns the functions outside `.text`, even static ones without references. Damaged ones fail when used.
pub(crate) fn read_programs(object: &ObjectFile) -> Vec<ProgramEntry> {
    let code = |key: FunctionKey| {
        object.elf.sections.get(key.section).filter(|section| !is_library_section(&section.name))
    };
    let any_static = object.functions.iter().any(|(key, function)| function.is_local && code(key).is_some());
    let called = if any_static { called(object) } else { HashSet::new() };
    let mut programs = Vec::new();
    for (key, function) in object.functions.iter() {
        let Some(section) = code(key) else { continue };
        if function.is_local && called.contains(&key) {
            continue;
        }
        let (name, section) = (function.name.clone(), section.name.clone());
        programs.push(ProgramEntry::at(key, name, section, function.is_local));
    }
    // Names of static functions need not be unique in an object linked from several: global ones take precedence.
    let global: HashSet<String> = programs.iter().filter(|p| !p.is_static).map(|p| p.name.clone()).collect();
    programs.retain(|program| !program.is_static || !global.contains(&program.name));
    programs
}

/// Returns the functions that others call or point to. References of damaged functions are unknown.
fn called(object: &ObjectFile) -> HashSet<FunctionKey> {
    let mut found = HashSet::new();
    for (key, _) in object.functions.iter() {
        // Valid functions do not overlap, so each instruction is read once.
        let Ok(function) = object.functions.get(key) else { continue };
        let insns: Vec<_> = Functions::instructions(&object.elf, key, function.len).collect();
        let Ok(references) = object.references(key, &insns) else { continue };
        found.extend(references.into_iter().filter_map(|(_, reference)| match reference {
            Reference::Function(callee) if callee != key => Some(callee),
            _ => None,
        }));
    }
    found
}
