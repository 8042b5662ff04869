use std::collections::BTreeMap;

use bpfman_model::uapi::prog_type;
use bpfman_model::{ProgramType, map_type};
use bpfmand_object::{NewerInstruction, ObjectFile, ProgramEntry, ProgramWants};

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
        let name = map_type::name(map.map_type);
        found.need(NeedKind::MapType, &name, &map.name, since("map_type", &name));
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
        for (name, version, has) in [
            ("packets in several buffers (.frags)", LinuxVersion(5, 18), entry.frags),
            ("programs that may sleep (.s)", LinuxVersion(5, 10), entry.sleepable),
        ] {
            if has {
                need(NeedKind::Feature, name, Some(FirstLinux { version, commit: "" }));
            }
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
            self.maybe(NeedKind::Feature, name, by, Some(FirstLinux { version, commit: "" }), unasked);
        }
    }
}

const fn place(program_type: ProgramType) -> Option<NeedKind> {
    use ProgramType as T;
    Some(match program_type {
        T::Kprobe | T::Kretprobe | T::Fentry | T::Fexit | T::FmodRet => NeedKind::Function,
        T::Tracepoint | T::RawTracepoint | T::BtfTracepoint => NeedKind::Tracepoint,
        T::Lsm | T::LsmCgroup => NeedKind::LsmHook,
        _ => return None,
    })
}

const fn instructions(newer: NewerInstruction) -> (&'static str, LinuxVersion) {
    match newer {
        NewerInstruction::LocalCall => ("calls of own functions", LinuxVersion(4, 16)),
        NewerInstruction::Jump32 => ("comparisons of 32 bits", LinuxVersion(5, 1)),
        NewerInstruction::GlobalVariable => ("global variables", LinuxVersion(5, 2)),
        NewerInstruction::Atomic => ("atomic operations", LinuxVersion(5, 12)),
        NewerInstruction::FunctionAddress => ("addresses of functions", LinuxVersion(5, 13)),
        NewerInstruction::Version4 => ("instruction set version 4", LinuxVersion(6, 6)),
        NewerInstruction::MayGoto => ("may_goto", LinuxVersion(6, 9)),
        NewerInstruction::AddressCast => ("casts of addresses of arenas", LinuxVersion(6, 9)),
        NewerInstruction::AcquireRelease => ("load-acquire and store-release", LinuxVersion(6, 15)),
        NewerInstruction::IndirectJump => ("jumps to an address in a register", LinuxVersion(6, 19)),
    }
}
