//! How often programs run and how long it takes, over a short time: for programs that are not members of chains, which
//! count by themselves.

use bpfmand_core::{ProgramId, RunCounts};
use bpfmand_kernel::{Kernel, RunClock};

use crate::{Engine, EngineError};

/// Counting that goes on until this is ended or dropped. It holds no program.
#[derive(Debug)]
pub struct RunSample {
    _clock: Box<dyn RunClock>,
    began: Vec<(ProgramId, RunCounts)>,
}

impl<K: Kernel> Engine<K> {
    /// Begins to count. The kernel then times the runs of all programs of the machine, also those of others.
    ///
    /// # Errors
    /// A program is not ours, or the kernel does not count (before Linux 5.8).
    pub fn begin_run_sample(&self, programs: &[ProgramId]) -> Result<RunSample, EngineError> {
        if let Some(unknown) = programs.iter().find(|id| self.state().program(**id).is_none()) {
            return Err(EngineError::NoProgram(*unknown));
        }
        let clock = self.kernel.count_runs()?;
        let mut began = Vec::new();
        for id in programs {
            began.extend(self.run_counts(*id)?.map(|counts| (*id, counts)));
        }
        Ok(RunSample { _clock: clock, began })
    }

    /// What came since the beginning. `missed` is of the program's whole life. Programs that are gone are left out.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    pub fn end_run_sample(&self, sample: RunSample) -> Result<Vec<(ProgramId, RunCounts)>, EngineError> {
        let mut came = Vec::new();
        for (id, began) in &sample.began {
            let Some(now) = self.run_counts(*id)? else { continue };
            let runs = now.runs.saturating_sub(began.runs);
            let nanoseconds = now.nanoseconds.saturating_sub(began.nanoseconds);
            came.push((*id, RunCounts { runs, nanoseconds, missed: now.missed }));
        }
        Ok(came)
    }

    /// None if the program is gone.
    fn run_counts(&self, id: ProgramId) -> Result<Option<RunCounts>, EngineError> {
        let program = self.kernel.open_program(id)?;
        Ok(program.map(|program| self.kernel.run_counts(&program)).transpose()?)
    }
}
