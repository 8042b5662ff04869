//! Programs of tenants: checks their calls, and puts the guard's test in front.

use std::borrow::Cow;

use bpfman_model::{Insn, MapSpec, ProgramType, TenantRules, map_type, op};
use bpfmand_kernel::Kernel;
use bpfmand_object::KernelBtf;
use bpfmand_splice::{CountedLoops, MapBounds, calls_clone_redirect, narrowed};

use crate::engine::tenant_calls::{check_addresses, loops_of};
use crate::error::{ExtensionRefusal, GuardRefusal};
use crate::guard::{check_type, runs_in_tasks};
use crate::load::plan::{LoadPlan, Wanted};
use crate::state::guard_record::ProgramGuard;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Checks a tenant's program, and adds the guard's test. A loaded program whose loops only earlier versions
    /// accepted is still loaded again after a reboot.
    pub(crate) fn check_and_guard<'a>(
        &self,
        mut wanted: Wanted<'a>,
        rules: &TenantRules,
        kernel: Option<&KernelBtf>,
        plan: &LoadPlan<'_>,
    ) -> Result<Wanted<'a>, EngineError> {
        let maps = plan.object.maps();
        let program_type = wanted.program.program_type;
        check_type(&wanted.program.name, program_type)?;
        let program_type = extended_type(&wanted)?;
        check_addresses(&wanted.program.linked)?;
        let calls_need_perfmon = self.check_calls(&wanted.text, program_type, rules, kernel)?;
        check_copies(&wanted)?;
        let loops =
            loops_of(&wanted.text, program_type, rules, kernel, |index| maps.get(index).map(bounds_of));
        let loops = loops.and_then(|loops| check_tail_calls(&wanted, &loops).map(|()| loops));
        let (loops, unbounded) = match loops {
            Ok(loops) => (Some(loops), None),
            Err(refusal) if plan.again => {
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
            // Without CAP_PERFMON, the verifier refuses programs that could reveal kernel memory to the tenant.
            without_perfmon: !plan.keeps_perfmon
                && !calls_need_perfmon
                && !wanted.program.kind().needs_perfmon(),
            steps: None,
        };
        if runs_in_tasks(wanted.program.program_type) {
            let (guarded, test) = self.with_guard(&wanted.text, program_type, kernel)?;
            (wanted.text, wanted.front) = (Cow::Owned(guarded.text), Some(guarded.len));
            (guard.namespaces, guard.credentials) = (test.namespaces.is_some(), test.credentials.is_some());
        }
        // A program that cannot be narrowed runs behind the machine's programs, and at ingress alone.
        if wanted.program.program_type == ProgramType::Tcx
            && let Ok(narrow) = narrowed(&wanted.text)
        {
            (wanted.text, wanted.front, guard.narrowed) = (Cow::Owned(narrow.text), Some(narrow.len), true);
        }
        (wanted.guard, wanted.loops) = (Some(guard), loops);
        Ok(wanted)
    }
}

/// Refuses tail calls in an extension: the caller of the replaced function would continue after them.
fn check_tail_calls(wanted: &Wanted<'_>, loops: &CountedLoops) -> Result<(), EngineError> {
    match wanted.program.extends.is_some() && loops.has_tail_call() {
        true => Err(forbidden(wanted, "a tail call in an extension", TAIL_CALL)),
        false => Ok(()),
    }
}

/// Refuses copies of packets that no chain holds back, also of a program that an earlier version accepted.
fn check_copies(wanted: &Wanted<'_>) -> Result<(), EngineError> {
    match calls_clone_redirect(&wanted.text) {
        true if wanted.program.extends.is_some() => {
            Err(forbidden(wanted, "bpf_clone_redirect in an extension", CLONE_REDIRECT))
        }
        true if wanted.is_in_array => {
            Err(forbidden(wanted, "bpf_clone_redirect in a program of a program array", CLONE_REDIRECT))
        }
        _ => Ok(()),
    }
}

fn forbidden(wanted: &Wanted<'_>, what: &str, number: i32) -> EngineError {
    let (program, function) = (wanted.text.name.clone(), wanted.text.name.clone());
    let at = wanted.text.insns.iter().position(|insn| is_helper_call(insn, number)).unwrap_or_default();
    let (what, name) = (what.to_owned(), String::new());
    GuardRefusal::ForbiddenUse { program, what, name, function, at, grantable: false }.into()
}

const TAIL_CALL: i32 = 12;
const CLONE_REDIRECT: i32 = 13;

fn is_helper_call(insn: &Insn, number: i32) -> bool {
    insn.code == op::CALL && insn.src() == 0 && insn.imm == number
}

fn bounds_of(map: &MapSpec) -> MapBounds {
    // A declaration without a number of entries uses an existing map of any size.
    let entries = Some(map.max_entries).filter(|entries| *entries > 0 && map_type::is_array(map.map_type));
    // A program that looks up an inner map in a map of maps copies values of the inner map.
    let inner = map.inner.as_ref().map_or(0, |inner| inner.value_size);
    MapBounds {
        entries,
        key_size: map.key_size,
        value_size: map.value_size.max(inner),
        is_trie: map.map_type == map_type::LPM_TRIE,
    }
}

/// Returns, for an extension, the type of the program that it becomes a part of.
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
