//! Calls and addresses that programs of tenants may use, checked whenever an object reader created a text.

use bpfman_model::{Insn, Owner, ProgramText, ProgramType, TenantRules};
use bpfmand_kernel::Kernel;
use bpfmand_object::{KernelBtf, LinkedProgram};
use bpfmand_splice::{Calls, CountedLoops, ForbiddenUse, MapBounds};

use crate::error::GuardRefusal;
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

#[must_use]
pub fn rules_of(owner: &Owner, given: Option<&TenantRules>) -> Option<TenantRules> {
    match owner.namespace() {
        Some(_) => Some(TenantRules::of_containers()),
        None => given.cloned(),
    }
}

#[must_use]
pub fn rules_of_program(program: &ProgramRecord) -> Option<TenantRules> {
    rules_of(&program.owner(), program.guard.as_ref().map(|guard| &guard.rules))
}

impl<K: Kernel> Engine<K> {
    /// Refuses forbidden calls. Returns whether one of the calls needs CAP_PERFMON.
    pub(crate) fn check_calls(
        &self,
        text: &ProgramText,
        program_type: ProgramType,
        rules: &TenantRules,
        kernel: Option<&KernelBtf>,
    ) -> Result<bool, EngineError> {
        let calls = Calls::new(program_type, &rules.helpers);
        let checked = calls.check(text, |call| kernel_function(call, kernel));
        checked.and_then(|()| calls.check_sockets(text)).map_err(|found| refusal(text, found))?;
        Ok(calls.need_perfmon(text, |call| kernel_function(call, kernel)))
    }
}

pub fn loops_of(
    text: &ProgramText,
    program_type: ProgramType,
    rules: &TenantRules,
    kernel: Option<&KernelBtf>,
    map: impl Fn(usize) -> Option<MapBounds>,
) -> Result<CountedLoops, EngineError> {
    let calls = Calls::new(program_type, &rules.helpers);
    let loops = calls.loops(text, |call| kernel_function(call, kernel), map);
    loops.map_err(|found| refusal(text, found))
}

/// Returns the name of a called kernel function; `None` for functions of modules, which no list names.
fn kernel_function(call: &Insn, kernel: Option<&KernelBtf>) -> Option<String> {
    let id = (call.off == 0).then_some(call.imm.cast_unsigned())?;
    kernel?.function_name(id).map(str::to_owned)
}

fn refusal(text: &ProgramText, found: ForbiddenUse) -> EngineError {
    GuardRefusal::ForbiddenUse {
        program: text.name.clone(),
        what: found.what,
        grantable: found.name.is_some(),
        name: found.name.unwrap_or_default(),
        function: found.function,
        at: found.at,
    }
    .into()
}

/// Refuses addresses of kernel symbols, which would reveal the kernel's position in memory.
pub fn check_addresses(linked: &LinkedProgram) -> Result<(), EngineError> {
    let Some(wanted) = linked.addresses.first() else { return Ok(()) };
    let program = linked.text.name.clone();
    let what = format!("the address of the kernel symbol {}", wanted.symbol);
    let (name, function) = (wanted.symbol.clone(), program.clone());
    Err(GuardRefusal::ForbiddenUse { program, what, name, function, at: wanted.at, grantable: false }.into())
}
