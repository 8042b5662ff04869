use std::collections::BTreeMap;

use bpfman_model::ProgramType;
use bpfman_model::uapi::prog_type;
use bpfmand_object::{NewerInstruction, ObjectFile, ProgramEntry, ProgramWants};

use crate::hooks;
use crate::need::{KernelNeed, NeedKind, ObjectNeeds};
use crate::since::{FirstLinux, LinuxVersion, attached_since, helper, since};

const READ_KERNEL: [u32; 2] = [4, 113];

/// Returns all requirements; those of programs loaded only on request (`?` sections) are optional.
#[must_use]
pub fn needs_of(object: &ObjectFile) -> ObjectNeeds {
    let mut found = Collected::default();
    let mut needs = ObjectNeeds::default();
    for entry in object.programs() {
        let Some(program_type) = entry.family.program_type() else {
            needs.unsupported.push((entry.name.clone(), entry.section.clone()));
            continue;
        };
        match object.wants(&entry.name) {
            Ok(wants) => {
                found.program(entry, program_type, &wants);
                let reads = READ_KERNEL.iter().any(|helper| wants.helpers.contains(helper));
                if reads && wants.types.is_empty() {
                    needs.fixed_offsets.push(entry.name.clone());
                }
                needs.wants.insert(entry.name.clone(), wants);
            }
            Err(error) => needs.damaged.push((entry.name.clone(), error.to_string())),
        }
    }
    for map in object.maps() {
        for (kind, name, first) in hooks::of_map(map) {
            found.need(kind, &name, &map.name, first);
        }
    }
    for ops in &object.struct_ops {
        let by = object.maps().get(ops.map).map_or(ops.structure.as_str(), |map| map.name.as_str());
        found.need(NeedKind::StructOps, &ops.structure, by, since("struct_ops", &ops.structure));
    }
    needs.needs = found.0.into_values().collect();
    needs
}

#[derive(Default)]
struct Collected(BTreeMap<(NeedKind, String), KernelNeed>);

impl Collected {
    fn need(&mut self, kind: NeedKind, name: &str, wanted_by: &str, since: Option<FirstLinux>) {
        self.maybe(kind, name, wanted_by, since, false);
    }

    fn maybe(&mut self, kind: NeedKind, name: &str, by: &str, since: Option<FirstLinux>, is_optional: bool) {
        let new = || KernelNeed { kind, name: name.to_owned(), wanted_by: [].into(), since, is_optional };
        let need = self.0.entry((kind, name.to_owned())).or_insert_with(new);
        need.wanted_by.insert(by.to_owned());
        need.is_optional &= is_optional;
    }

    fn program(&mut self, entry: &ProgramEntry, program_type: ProgramType, wants: &ProgramWants) {
        let by = &entry.name;
        let loaded_as = prog_type::name(program_type.kernel_type());
        let unasked = entry.section.starts_with('?');
        let mut need = |kind, name: &str, since| self.maybe(kind, name, by, since, unasked);
        need(NeedKind::ProgramType, &loaded_as, since("program_type", &loaded_as));
        need(NeedKind::Attachment, program_type.name(), Some(attached_since(program_type)));
        if let (Some(kind), Some(target)) = (place(program_type), &entry.attach_target) {
            need(kind, target, None);
        }
        if let Some((kind, name, first)) = hooks::hook(program_type, entry) {
            need(kind, &name, first);
        }
        let frags = entry.frags.then_some(("packets in several buffers (.frags)", Some(LinuxVersion(5, 18))));
        let sleep = if entry.sleepable { hooks::sleep(program_type) } else { None };
        for (name, version) in frags.into_iter().chain(sleep) {
            let first = version.map(|version| FirstLinux { version, commit: "" });
            need(NeedKind::Feature, name, first);
        }
        for number in &wants.helpers {
            let known = helper(*number);
            let name = known.map_or_else(|| format!("helper {number}"), |row| row.name.to_owned());
            self.maybe(NeedKind::Helper, &name, by, known.map(|row| row.since), unasked);
        }
        for (name, weak) in &wants.functions {
            let plain = name.split("___").next().unwrap_or(name);
            self.maybe(NeedKind::Kfunc, name, by, since("kfunc", plain), *weak || unasked);
        }
        for (name, weak) in &wants.variables {
            self.maybe(NeedKind::Variable, name, by, None, *weak || unasked);
        }
        for (name, weak) in &wants.symbols {
            self.maybe(NeedKind::Symbol, name, by, None, *weak || unasked);
        }
        for (name, asks) in &wants.types {
            self.maybe(NeedKind::Type, name, by, None, *asks || unasked);
        }
        for newer in &wants.instructions {
            let (name, version) = instructions(*newer);
            let first = version.map(|version| FirstLinux { version, commit: "" });
            self.maybe(NeedKind::Feature, name, by, first, unasked);
        }
    }
}

const fn place(program_type: ProgramType) -> Option<NeedKind> {
    use ProgramType as T;
    Some(match program_type {
        T::Kprobe | T::Kretprobe => NeedKind::ProbedFunction,
        T::Fentry | T::Fexit | T::FmodRet => NeedKind::Function,
        T::Tracepoint | T::RawTracepoint | T::BtfTracepoint => NeedKind::Tracepoint,
        T::Lsm | T::LsmCgroup => NeedKind::LsmHook,
        _ => return None,
    })
}

const fn instructions(newer: NewerInstruction) -> (&'static str, Option<LinuxVersion>) {
    let (name, major, minor) = match newer {
        NewerInstruction::Other => return ("instructions that bpfman does not know", None),
        NewerInstruction::LessThan => ("comparisons by less than", 4, 14),
        NewerInstruction::LocalCall => ("calls of own functions", 4, 16),
        NewerInstruction::Jump32 => ("comparisons of 32 bits", 5, 1),
        NewerInstruction::GlobalVariable => ("global variables", 5, 2),
        NewerInstruction::Atomic => ("atomic operations", 5, 12),
        NewerInstruction::FunctionAddress => ("addresses of functions", 5, 13),
        NewerInstruction::Version4 => ("instruction set version 4", 6, 6),
        NewerInstruction::MayGoto => ("may_goto", 6, 9),
        NewerInstruction::AddressCast => ("casts of addresses of arenas", 6, 9),
        NewerInstruction::AcquireRelease => ("load-acquire and store-release", 6, 15),
        NewerInstruction::IndirectJump => ("jumps to an address in a register", 6, 19),
    };
    (name, Some(LinuxVersion(major, minor)))
}
