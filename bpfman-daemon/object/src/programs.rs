//! The programs of an object: global functions in code sections other than `.text`.

use crate::elf::Elf;
use crate::functions::{FunctionKey, Functions};
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
    pub(crate) key: FunctionKey,
}

/// True for sections whose functions are called by programs and are none themselves.
pub(crate) fn is_library_section(name: &str) -> bool {
    name == ".text" || name.starts_with(".text.")
}

pub(crate) fn read_programs(elf: &Elf, functions: &Functions) -> Vec<ProgramEntry> {
    let mut programs = Vec::new();
    for (key, function) in functions.iter() {
        let Some(section) = elf.sections.get(key.section) else { continue };
        if is_library_section(&section.name) {
            continue;
        }
        // Static functions are there to be called. A damaged program is listed: asking for it tells the damage.
        if function.is_local {
            continue;
        }
        let parsed = parse_section(&section.name);
        programs.push(ProgramEntry {
            name: function.name.clone(),
            section: section.name.clone(),
            family: parsed.family,
            attach_target: parsed.attach_target,
            sleepable: parsed.sleepable,
            frags: parsed.frags,
            key,
        });
    }
    programs
}
