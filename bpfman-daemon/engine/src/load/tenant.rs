//! Programs of tenants: what they call is looked at, and the test put in front.

use bpfmand_core::TenantRules;
use bpfmand_kernel::Kernel;
use bpfmand_object::KernelBtf;

use crate::guard::runs_in_tasks;
use crate::load::plan::Wanted;
use crate::state::guard_record::ProgramGuard;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// A tenant's program as it is loaded: what it calls is looked at, and the test put in front.
    pub(crate) fn held_to(
        &self,
        mut wanted: Wanted,
        rules: &TenantRules,
        kernel: Option<&KernelBtf>,
    ) -> Result<Wanted, EngineError> {
        self.check_calls(&wanted.text, wanted.program_type, rules, kernel)?;
        let mut guard = ProgramGuard { rules: rules.clone(), table: None, namespaces: false };
        if runs_in_tasks(wanted.program_type) {
            let (guarded, namespaces) = self.with_guard(&wanted.text, wanted.program_type, kernel)?;
            (wanted.text, wanted.front, guard.namespaces) = (guarded.text, Some(guarded.len), namespaces);
        }
        wanted.guard = Some(guard);
        Ok(wanted)
    }
}
