//! Programs of tenants: what they call is looked at, and the test put in front.

use std::borrow::Cow;

use bpfmand_core::TenantRules;
use bpfmand_kernel::Kernel;
use bpfmand_object::KernelBtf;

use crate::engine::tenant_calls::check_addresses;
use crate::guard::{check_type, runs_in_tasks};
use crate::load::plan::Wanted;
use crate::state::guard_record::ProgramGuard;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// A tenant's program as it is loaded: what it calls is looked at, and the test put in front.
    pub(crate) fn held_to<'a>(
        &self,
        mut wanted: Wanted<'a>,
        rules: &TenantRules,
        kernel: Option<&KernelBtf>,
    ) -> Result<Wanted<'a>, EngineError> {
        let program_type = wanted.program.program_type;
        check_type(&wanted.program.name, program_type)?;
        check_addresses(&wanted.program.linked)?;
        self.check_calls(&wanted.text, program_type, rules, kernel)?;
        let mut guard = ProgramGuard { rules: rules.clone(), table: None, namespaces: false };
        if runs_in_tasks(program_type) {
            let (guarded, namespaces) = self.with_guard(&wanted.text, program_type, kernel)?;
            (wanted.text, wanted.front, guard.namespaces) =
                (Cow::Owned(guarded.text), Some(guarded.len), namespaces);
        }
        wanted.guard = Some(guard);
        Ok(wanted)
    }
}
