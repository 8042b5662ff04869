//! The programs of an object: functions in code sections other than `.text`, but for static ones that others call.

use std::collections::HashSet;

use crate::functions::{FunctionKey, Functions};
use crate::object_file::ObjectFile;
use crate::references::Reference;
use crate::section_family::{SectionFamily, parse_section};

/// One program of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramEntry {
    /// Name of its function.
    pub name: String,
    /// Name of its section as written in the file.
    pub section: String,
    /// What the section's name stands for.
    pub family: SectionFamily,
    /// What the section's name asks to attach to: a kernel function (kprobe, fentry), `category/name` (tracepoint),
    /// `path:function` (uprobe), a hook (LSM). None if the name ends before it.
    pub attach_target: Option<String>,
    /// May sleep (`.s` sections).
    pub sleepable: bool,
    /// Handles packets in several buffers (`xdp.frags`).
    pub frags: bool,
    /// A `static` function in its source.
    pub is_static: bool,
    /// Where it is, for who links it.
    pub(crate) key: FunctionKey,
}

impl ProgramEntry {
    /// A program as somebody else found it, who links it as well: what its section's name stands for is read here.
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

/// True for sections whose functions are called by programs and are none themselves.
pub(crate) fn is_library_section(name: &str) -> bool {
    name == ".text" || name.starts_with(".text.")
}

/// Lists the programs of an object whose other parts are read.
///
/// A global function outside `.text` is a program. A static one is a program too (`SEC("kprobe/…") static int f(…)`, which
/// libbpf refuses and other loaders take), unless something in the object calls it or takes its address: then it is there
/// for those. A damaged program is listed: asking for it tells the damage.
pub(crate) fn read_programs(object: &ObjectFile) -> Vec<ProgramEntry> {
    let code = |key: FunctionKey| {
        object.elf.sections.get(key.section).filter(|section| !is_library_section(&section.name))
    };
    let any_static = object.functions.iter().any(|(key, function)| function.is_local && code(key).is_some());
    // All instructions are looked at only where it matters.
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
    // Names of static functions need not be unique in an object that was linked of several: global ones come first.
    let global: HashSet<String> = programs.iter().filter(|p| !p.is_static).map(|p| p.name.clone()).collect();
    programs.retain(|program| !program.is_static || !global.contains(&program.name));
    programs
}

/// Functions that another function calls or points to. What a damaged function refers to is not known.
fn called(object: &ObjectFile) -> HashSet<FunctionKey> {
    let mut found = HashSet::new();
    for (key, _) in object.functions.iter() {
        // Sound functions do not overlap, so each instruction is looked at once.
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
