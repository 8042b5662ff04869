//! Limit of instructions that the verifier processes for one load: one owner's loads delay those of all others.

use bpfmand_kernel::Kernel;

use crate::error::VerifiedLimit;
use crate::load::plan::{LoadPlan, LoadedProgram, Wanted};
use crate::{Engine, EngineError};

pub fn check_text(plan: &LoadPlan<'_>, wanted: &[Wanted<'_>]) -> Result<(), EngineError> {
    let Some(limit) = limit_of(plan) else { return Ok(()) };
    let mut insns = 0_u64;
    for program in wanted {
        insns += program.text.insns.len() as u64;
        if insns > limit {
            let program = program.program.name.clone();
            return Err(VerifiedLimit::Text { program, insns, limit }.into());
        }
    }
    Ok(())
}

fn limit_of(plan: &LoadPlan<'_>) -> Option<u64> {
    plan.limits.verified_instructions.filter(|_| !plan.again)
}

#[derive(Debug, Default)]
pub struct VerifiedSoFar(u64);

impl VerifiedSoFar {
    /// Counts a loaded program. Above the limit, the program is dropped, which unloads it.
    pub fn with<K: Kernel>(
        &mut self,
        engine: &Engine<K>,
        plan: &LoadPlan<'_>,
        loaded: LoadedProgram<K::Handle>,
    ) -> Result<LoadedProgram<K::Handle>, EngineError> {
        let Some(limit) = limit_of(plan) else { return Ok(loaded) };
        // 0 means that the kernel does not report the count.
        if loaded.facts.verified_insns == 0 {
            let release = engine.kernel.features().release.clone();
            return Err(VerifiedLimit::Uncounted { release, limit }.into());
        }
        self.0 += u64::from(loaded.facts.verified_insns);
        if self.0 > limit {
            return Err(VerifiedLimit::Walked { program: loaded.name, insns: self.0, limit }.into());
        }
        Ok(loaded)
    }
}
