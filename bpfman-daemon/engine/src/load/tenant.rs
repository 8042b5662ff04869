//! Programs of tenants: checks their calls, and puts the guard's test in front.

use std::borrow::Cow;

use bpfmand_core::{MapSpec, ProgramType, TenantRules};
use bpfmand_kernel::Kernel;
use bpfmand_object::KernelBtf;

use crate::engine::tenant_calls::{check_addresses, rounds_of};
use crate::error::ExtensionRefusal;
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
        // A declaration without a size accepts an existing map of any size.
        let declared = |index: usize| maps.get(index).map(|map| map.max_entries);
        let entries = |index: usize| declared(index).filter(|entries| *entries > 0);
        let rounds = rounds_of(&wanted.text, program_type, rules, kernel, entries)?;
        let mut guard = ProgramGuard {
            rules: rules.clone(),
            table: None,
            namespaces: false,
            credentials: false,
            rounds: Some(rounds),
        };
        if runs_in_tasks(wanted.program.program_type) {
            let (guarded, test) = self.with_guard(&wanted.text, program_type, kernel)?;
            (wanted.text, wanted.front) = (Cow::Owned(guarded.text), Some(guarded.len));
            (guard.namespaces, guard.credentials) = (test.namespaces.is_some(), test.credentials.is_some());
        }
        wanted.guard = Some(guard);
        Ok(wanted)
    }
}

/// Returns the type whose rules apply to a program: for an extension, that of the extended program.
///
/// # Errors
/// The extended program is a third party's, or its guard would be replaced.
fn extended_type(wanted: &Wanted<'_>) -> Result<ProgramType, EngineError> {
    let Some(extends) = &wanted.program.extends else { return Ok(wanted.program.program_type) };
    let (program, extended) = (wanted.program.name.clone(), extends.place.program);
    let of_type =
        extends.of_type.ok_or_else(|| ExtensionRefusal::NotOwn { program: program.clone(), extended })?;
    check_type(&program, of_type)?;
    if runs_in_tasks(of_type) && extends.record.function == extends.of_name {
        let name = extends.of_name.clone();
        return Err(ExtensionRefusal::Guarded { program, extended, name }.into());
    }
    Ok(of_type)
}
