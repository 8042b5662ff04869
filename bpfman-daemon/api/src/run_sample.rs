//! How often programs run and how long it takes, over a short time: for programs that are not members of chains, which
//! count by themselves.

use bpfmand_core::{ProgramId, RunCounts};
use bpfmand_engine::{Engine, EngineError};
use bpfmand_kernel::{Kernel, RunClock};

/// Counting that goes on until this is dropped. It holds no program.
pub struct RunSample {
    _clock: Box<dyn RunClock>,
    began: Vec<(ProgramId, RunCounts)>,
}

impl RunSample {
    /// Begins to count. The kernel then times the runs of all programs of the machine, also those of others.
    ///
    /// # Errors
    /// A program is not ours, or the kernel does not count (before Linux 5.8).
    pub fn begin<K: Kernel>(engine: &Engine<K>, programs: &[ProgramId]) -> Result<Self, EngineError> {
        if let Some(unknown) = programs.iter().find(|id| !engine.manages(**id)) {
            return Err(EngineError::NoProgram(*unknown));
        }
        let clock = engine.kernel().count_runs()?;
        let mut began = Vec::new();
        for id in programs {
            began.extend(counts(engine, *id)?.map(|counts| (*id, counts)));
        }
        Ok(Self { _clock: clock, began })
    }

    /// What came since the beginning. `missed` is of the program's whole life. Programs that are gone are left out.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    pub fn end<K: Kernel>(self, engine: &Engine<K>) -> Result<Vec<(ProgramId, RunCounts)>, EngineError> {
        let mut came = Vec::new();
        for (id, began) in &self.began {
            let Some(now) = counts(engine, *id)? else { continue };
            let runs = now.runs.saturating_sub(began.runs);
            let nanoseconds = now.nanoseconds.saturating_sub(began.nanoseconds);
            came.push((*id, RunCounts { runs, nanoseconds, missed: now.missed }));
        }
        Ok(came)
    }
}

/// None if the program is gone.
fn counts<K: Kernel>(engine: &Engine<K>, id: ProgramId) -> Result<Option<RunCounts>, EngineError> {
    let program = engine.kernel().open_program(id)?;
    Ok(program.map(|program| engine.kernel().run_counts(&program)).transpose()?)
}
