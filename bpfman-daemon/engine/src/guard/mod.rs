//! Guards: a tenant's program runs for the tenant's own tasks, and calls what tenants may.
//!
//! The test is compiled in front of the program when it is loaded; whose tasks pass it is written, for each link, before the
//! link exists. What cannot be guarded is refused: it never runs without.

mod link;

use bpfmand_core::{Insn, Owner, ProgramText, ProgramType, TenantRules};
use bpfmand_kernel::Kernel;
use bpfmand_object::KernelBtf;
use bpfmand_splice::{Calls, GuardTest, Guarded, TaskOffsets, guarded, is_gpl_compatible};

use crate::error::GuardRefusal;
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

/// The place of the table among a program's maps: behind all that an object can have.
pub const TABLE: usize = 1 << 20;

/// What tenants' programs of this owner are held to, if it is a tenant.
#[must_use]
pub fn rules_of(owner: &Owner, given: Option<&TenantRules>) -> Option<TenantRules> {
    match owner.namespace() {
        Some(_) => Some(TenantRules::of_containers()),
        None => given.cloned(),
    }
}

/// The same of a program that is there.
#[must_use]
pub fn rules_of_program(program: &ProgramRecord) -> Option<TenantRules> {
    rules_of(&program.owner(), program.guard.as_ref().map(|guard| &guard.rules))
}

/// True for types whose programs run in whatever task meets them.
#[must_use]
pub const fn runs_in_tasks(program_type: ProgramType) -> bool {
    !matches!(program_type, ProgramType::Xdp | ProgramType::Tc | ProgramType::Tcx)
}

impl<K: Kernel> Engine<K> {
    /// Refuses a program that calls what its tenant may not.
    pub(crate) fn check_calls(
        &self,
        text: &ProgramText,
        program_type: ProgramType,
        rules: &TenantRules,
        kernel: Option<&KernelBtf>,
    ) -> Result<(), EngineError> {
        let name_of = |call: &Insn| {
            // Functions of modules are named by nobody's list.
            let id = (call.off == 0).then_some(call.imm.cast_unsigned())?;
            kernel?.function_name(id).map(str::to_owned)
        };
        Calls::new(program_type, &rules.helpers).check(text, name_of).map_err(|found| {
            GuardRefusal::ForbiddenUse {
                program: text.name.clone(),
                what: found.what,
                grantable: found.name.is_some(),
                name: found.name.unwrap_or_default(),
                function: found.function,
                at: found.at,
            }
            .into()
        })
    }

    /// A program with the test in front; whether it can tell process namespaces.
    pub(crate) fn with_guard(
        &self,
        text: &ProgramText,
        program_type: ProgramType,
        kernel: Option<&KernelBtf>,
    ) -> Result<(Guarded, bool), EngineError> {
        let features = self.kernel.features();
        let (needed, links, needs) = match program_type {
            ProgramType::Fentry | ProgramType::Fexit | ProgramType::Lsm => {
                ((6, 0), "fentry, fexit and LSM", "Linux 6.0 or later has them")
            }
            _ => ((5, 15), "perf events", "Linux 5.15 or later has them"),
        };
        if features.version < needed {
            let (program, release) = (text.name.clone(), features.release.clone());
            return Err(GuardRefusal::NoCookies { program, program_type, release, links, needs }.into());
        }
        // The kernel lets only programs of such a licence read its structures.
        let namespaces = kernel.filter(|_| is_gpl_compatible(&text.license)).and_then(task_offsets);
        Ok((guarded(text, &GuardTest { table: TABLE, namespaces }), namespaces.is_some()))
    }
}

/// Where this kernel keeps what tells process namespaces apart.
fn task_offsets(kernel: &KernelBtf) -> Option<TaskOffsets> {
    let at = |structure, member| kernel.member_offset(structure, member);
    let short = |at: u32| i16::try_from(at).ok();
    Some(TaskOffsets {
        nsproxy: short(at("task_struct", "nsproxy")?)?,
        pid_ns: short(at("nsproxy", "pid_ns_for_children")?)?,
        inode: short(at("pid_namespace", "ns")?.checked_add(at("ns_common", "inum")?)?)?,
        first: short(at("pid_namespace", "child_reaper")?)?,
        began: short(at("task_struct", "start_boottime")?)?,
    })
}
