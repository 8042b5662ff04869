//! Number and duration of runs over a short time, for programs outside of chains. Chains have counters of their own.

use bpfman_model::{ProgramId, RunCounts};
use bpfmand_engine::{Engine, EngineError};
use bpfmand_kernel::{Kernel, RunClock};

/// Counting that continues until this is dropped. It holds no program.
pub struct RunSample {
    _clock: Box<dyn RunClock>,
    began: Vec<(ProgramId, RunCounts)>,
}

impl RunSample {
    /// Starts counting. The kernel then times the runs of all programs of the machine. Fails before Linux 5.8.
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

    /// Returns the counts since the beginning. `missed` covers the program's life. Omits programs that are gone.
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

fn counts<K: Kernel>(engine: &Engine<K>, id: ProgramId) -> Result<Option<RunCounts>, EngineError> {
    let program = engine.kernel().open_program(id)?;
    Ok(program.map(|program| engine.kernel().run_counts(&program)).transpose()?)
}
