//! Instructions that one run of a tenant's program may take, from its loops and from what the verifier walked through.

use bpfmand_kernel::Kernel;
use bpfmand_splice::MAX_TAIL_CALLS;

use crate::error::GuardRefusal;
use crate::load::plan::{LoadPlan, LoadedProgram, Wanted};
use crate::{Engine, EngineError};

/// Maximum number of instructions of one run: some tens of milliseconds. Tail calls share them ([`MAX_TAIL_CALLS`]),
/// because each may run a million, the most that the verifier walks through.
const MAX_STEPS: u64 = 32 << 20;

impl<K: Kernel> Engine<K> {
    /// Refuses a program above the limit. Kernels before 5.16 do not count instructions: there all pass.
    pub(crate) fn within_steps(
        &self,
        plan: &LoadPlan<'_>,
        wanted: &Wanted<'_>,
        mut loaded: LoadedProgram<K::Handle>,
    ) -> Result<LoadedProgram<K::Handle>, EngineError> {
        let verified = loaded.facts.verified_insns;
        let (Some(guard), Some(loops), 1..) = (&mut loaded.guard, &wanted.loops, verified) else {
            return Ok(loaded);
        };
        let steps = loops.steps(verified).saturating_mul(self.calls_of_place(wanted));
        guard.steps = Some(steps);
        let limit = if loops.has_tail_call() { MAX_STEPS / MAX_TAIL_CALLS as u64 } else { MAX_STEPS };
        if plan.again || steps <= limit {
            return Ok(loaded);
        }
        let (program, rounds) = (loaded.name, loops.rounds());
        Err(GuardRefusal::TooLong { program, steps, limit, rounds, verified }.into())
    }

    fn calls_of_place(&self, wanted: &Wanted<'_>) -> u64 {
        let Some(extends) = &wanted.program.extends else { return 1 };
        let state = self.state();
        let extended = state.by_id.get(&extends.place.program).and_then(|uid| state.programs.get(uid));
        let guard = extended.and_then(|program| program.guard.as_ref());
        guard.map_or(1, |guard| guard.steps.unwrap_or(MAX_STEPS))
    }
}
