//! Limit of the instructions of one run of a tenant's program: rounds of its loops, times the instructions that the
//! verifier processed. The verifier processes plain loops round by round, and the bodies of counted loops once.

use bpfmand_kernel::Kernel;
use bpfmand_splice::MAX_ROUNDS;

use crate::error::GuardRefusal;
use crate::load::plan::{LoadedProgram, Wanted};
use crate::{Engine, EngineError};

/// Maximum number of instructions of one run: a few tens of milliseconds.
const MAX_STEPS: u64 = 32 << 20;

impl<K: Kernel> Engine<K> {
    /// Unloads a tenant's program that may run too long. Kernels before 5.16 do not report the number of processed
    /// instructions.
    pub(crate) fn within_steps(
        &self,
        wanted: &Wanted<'_>,
        loaded: LoadedProgram<K::Handle>,
    ) -> Result<LoadedProgram<K::Handle>, EngineError> {
        let Some(guard) = &loaded.guard else { return Ok(loaded) };
        let (own, verified) = (guard.rounds.unwrap_or(1), loaded.facts.verified_insns);
        let rounds = own.saturating_mul(self.rounds_around(wanted));
        let steps = rounds.saturating_mul(u64::from(verified));
        if rounds == 1 || steps <= MAX_STEPS {
            return Ok(loaded);
        }
        let program = loaded.name;
        Err(GuardRefusal::TooLong { program, steps, limit: MAX_STEPS, rounds, verified }.into())
    }

    /// Returns the rounds in which another program runs the function that an extension replaces.
    fn rounds_around(&self, wanted: &Wanted<'_>) -> u64 {
        let Some(extends) = &wanted.program.extends else { return 1 };
        let state = self.state();
        let extended = state.by_id.get(&extends.place.program).and_then(|uid| state.programs.get(uid));
        let guard = extended.and_then(|program| program.guard.as_ref());
        guard.map_or(1, |guard| guard.rounds.unwrap_or(MAX_ROUNDS))
    }
}
