//! Programs of tenants: checks their calls, and puts the guard's test in front.

use std::borrow::Cow;

use bpfmand_core::{Insn, MapSpec, ProgramType, TenantRules, map_type, op};
use bpfmand_kernel::Kernel;
use bpfmand_object::KernelBtf;
use bpfmand_splice::narrowed;

use crate::engine::tenant_calls::{check_addresses, loops_of};
use crate::error::{ExtensionRefusal, GuardRefusal};
use crate::guard::{check_type, runs_in_tasks};
use crate::load::plan::Wanted;
use crate::state::guard_record::ProgramGuard;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Returns a tenant's program for loading: checks its calls, and puts the guard's test in front.
    pub(crate) fn held_to<'a>(
        &self,
        mut wanted: Wanted<'a>,
        rules: &TenantRules,
        (kernel, maps): (Option<&KernelBtf>, &[MapSpec]),
    ) -> Result<Wanted<'a>, EngineError> {
        let program_type = wanted.program.program_type;
        check_type(&wanted.program.name, program_type)?;
        let program_type = extended_type(&wanted)?;
        check_addresses(&wanted.program.linked)?;
        self.check_calls(&wanted.text, program_type, rules, kernel)?;
        // A declaration without a number takes a map that is there, of any size.
        let declared = |index: usize| {
            maps.get(index).filter(|map| map_type::is_array(map.map_type)).map(|map| map.max_entries)
        };
        let entries = |index: usize| declared(index).filter(|entries| *entries > 0);
        let loops = loops_of(&wanted.text, program_type, rules, kernel, entries)?;
        // The caller of the replaced function continues after it; a tail call would skip that.
        if wanted.program.extends.is_some() && loops.has_tail_call() {
            let (program, function) = (wanted.text.name.clone(), wanted.text.name.clone());
            let (what, name) = ("a tail call in an extension".to_owned(), String::new());
            let at = wanted.text.insns.iter().position(is_tail_call).unwrap_or_default();
            return Err(
                GuardRefusal::ForbiddenUse { program, what, name, function, at, grantable: false }.into()
            );
        }
        let mut guard = ProgramGuard {
            rules: rules.clone(),
            table: None,
            namespaces: false,
            credentials: false,
            narrowed: false,
            steps: None,
        };
        if runs_in_tasks(wanted.program.program_type) {
            let (guarded, test) = self.with_guard(&wanted.text, program_type, kernel)?;
            (wanted.text, wanted.front) = (Cow::Owned(guarded.text), Some(guarded.len));
            (guard.namespaces, guard.credentials) = (test.namespaces.is_some(), test.credentials.is_some());
        }
        // One that cannot be narrowed runs behind the machine's programs, and on the way in alone.
        if wanted.program.program_type == ProgramType::Tcx
            && let Ok(narrow) = narrowed(&wanted.text)
        {
            (wanted.text, wanted.front, guard.narrowed) = (Cow::Owned(narrow.text), Some(narrow.len), true);
        }
        (wanted.guard, wanted.loops) = (Some(guard), Some(loops));
        Ok(wanted)
    }
}

fn is_tail_call(insn: &Insn) -> bool {
    insn.code == op::CALL && insn.src() == 0 && insn.imm == 12
}

/// The type whose rules a program is held to: of an extension, that of the program that it becomes a part of. Fails if
/// the extended program is a third party's, or its guard would be replaced.
fn extended_type(wanted: &Wanted<'_>) -> Result<ProgramType, EngineError> {
    let Some(extends) = &wanted.program.extends else { return Ok(wanted.program.program_type) };
    let (program, extended) = (wanted.program.name.clone(), extends.place.program);
    let of_type =
        extends.of_type.ok_or_else(|| ExtensionRefusal::NotOwn { program: program.clone(), extended })?;
    check_type(&program, of_type)?;
    let has_test = runs_in_tasks(of_type) || of_type == ProgramType::Tcx;
    if has_test && extends.record.function == extends.of_name {
        let name = extends.of_name.clone();
        return Err(ExtensionRefusal::Guarded { program, extended, name }.into());
    }
    Ok(of_type)
}
