//! Programs of tenants: checks their calls, and puts the guard's test in front.

use std::borrow::Cow;

use bpfmand_core::{Insn, MapSpec, ProgramType, TenantRules, map_type, op};
use bpfmand_kernel::Kernel;
use bpfmand_object::KernelBtf;
use bpfmand_splice::{CountedLoops, calls_clone_redirect, narrowed};

use crate::engine::tenant_calls::{check_addresses, loops_of};
use crate::error::{ExtensionRefusal, GuardRefusal};
use crate::guard::{check_type, runs_in_tasks};
use crate::load::plan::Wanted;
use crate::state::guard_record::ProgramGuard;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Returns a tenant's program for loading: checks its calls, and puts the guard's test in front. Loops and tail calls of a program
    /// that was accepted before, by the rules of then, are noted and not refused: a reboot ends nothing.
    pub(crate) fn held_to<'a>(
        &self,
        mut wanted: Wanted<'a>,
        rules: &TenantRules,
        (kernel, maps): (Option<&KernelBtf>, &[MapSpec]),
        again: bool,
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
        let loops = loops_of(&wanted.text, program_type, rules, kernel, entries);
        let loops = loops.and_then(|loops| check_part(&wanted, &loops).map(|()| loops));
        let (loops, unbounded) = match loops {
            Ok(loops) => (Some(loops), None),
            Err(refusal) if again => {
                tracing::warn!(program = wanted.program.name, %refusal, "a program is loaded again that a new load may not have");
                (None, Some(refusal.to_string()))
            }
            Err(refusal) => return Err(refusal),
        };
        let mut guard = ProgramGuard {
            rules: rules.clone(),
            table: None,
            namespaces: false,
            credentials: false,
            narrowed: false,
            clones: Some(calls_clone_redirect(&wanted.text)),
            is_bounded: loops.is_some(),
            unbounded,
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
        (wanted.guard, wanted.loops) = (Some(guard), loops);
        Ok(wanted)
    }
}

/// Refuses calls in a program that becomes a part of another: what calls the function that an extension takes the place of goes on
/// behind it, and no chain holds back the copies that an extension or a program behind a tail call sends.
fn check_part(wanted: &Wanted<'_>, loops: &CountedLoops) -> Result<(), EngineError> {
    let refuse = |what: &str, number| {
        let (program, function) = (wanted.text.name.clone(), wanted.text.name.clone());
        let at = wanted.text.insns.iter().position(|insn| is_helper_call(insn, number)).unwrap_or_default();
        let (what, name) = (what.to_owned(), String::new());
        Err(GuardRefusal::ForbiddenUse { program, what, name, function, at, grantable: false }.into())
    };
    let is_extension = wanted.program.extends.is_some();
    if is_extension && loops.has_tail_call() {
        return refuse("a tail call in an extension", TAIL_CALL);
    }
    match calls_clone_redirect(&wanted.text) {
        true if is_extension => refuse("bpf_clone_redirect in an extension", CLONE_REDIRECT),
        true if wanted.is_in_array => {
            refuse("bpf_clone_redirect in a program of a program array", CLONE_REDIRECT)
        }
        _ => Ok(()),
    }
}

const TAIL_CALL: i32 = 12;
const CLONE_REDIRECT: i32 = 13;

fn is_helper_call(insn: &Insn, number: i32) -> bool {
    insn.code == op::CALL && insn.src() == 0 && insn.imm == number
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
