//! Gathers all samples of one scrape.

mod chains;
mod daemon;
mod entry_counts;
mod labels;
mod maps;
mod programs;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bpfman_metrics::{Exposition, add_process};
use bpfmand_core::{LinkId, ProgramId};
use bpfmand_engine::{Engine, FigureDesk};
use bpfmand_journal::Journal;
use bpfmand_kernel::Kernel;

use crate::catalogue;
use crate::growing_sums::GrowingSums;
use crate::{ImageCounts, LimitCounts};
use entry_counts::EntryCounts;
use labels::{MemberCount, MemberLabels, ProgramLabels};

/// What the daemon is made of, as far as metrics tell of it.
pub struct DaemonParts<K: Kernel> {
    /// Programs, chains, maps, and what was done with them.
    pub engine: Arc<Engine<K>>,
    /// The history.
    pub journal: Arc<Journal>,
    /// What became of images.
    pub images: Arc<ImageCounts>,
    /// What became of programs that take too much.
    pub limits: Arc<LimitCounts>,
    /// The daemon's version.
    pub version: &'static str,
    /// What only the daemon as a whole knows.
    pub states: Box<dyn Fn() -> DaemonStates + Send + Sync>,
}

/// What only the daemon as a whole knows.
#[derive(Clone, Copy, Debug, Default)]
pub struct DaemonStates {
    /// Root has everything detached.
    pub detached: bool,
    /// The kernel counts and times the runs of programs.
    pub runs_counted: bool,
    /// What the radar saw.
    pub radar: RadarCounts,
}

/// What the radar saw of others since it is on.
#[derive(Clone, Copy, Debug, Default)]
pub struct RadarCounts {
    /// By what it sees, `off` while it sees nothing.
    pub source: &'static str,
    /// What others did.
    pub events: u64,
    /// Of these, what is known by its number alone.
    pub lost: u64,
    /// Touches of hooks of the daemon.
    pub touches: u64,
}

/// Gathers metrics. One gathering at a time: sums grow from each to the next.
pub struct DaemonMetrics<K: Kernel> {
    parts: DaemonParts<K>,
    desk: FigureDesk,
    memory: Mutex<Memory>,
    entries: Arc<EntryCounts>,
}

/// What the gatherings before left.
#[derive(Debug, Default)]
struct Memory {
    took: Duration,
    programs: GrowingSums<ProgramId, ProgramLabels, 4>,
    members: GrowingSums<(LinkId, MemberCount), MemberLabels, 1>,
    chains: GrowingSums<(String, &'static str), (String, &'static str), 1>,
}

impl<K: Kernel> DaemonMetrics<K> {
    /// Of these parts.
    #[must_use]
    pub fn new(parts: DaemonParts<K>) -> Self {
        Self { parts, desk: FigureDesk::default(), memory: Mutex::default(), entries: Arc::default() }
    }

    /// All metrics as they are now, as OpenMetrics. It asks the kernel, and waits for no change.
    #[must_use]
    pub fn text(&self) -> String {
        let began = Instant::now();
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let mut samples = Exposition::default();
        samples.add(&catalogue::SCRAPE, [], memory.took.as_secs_f64());
        let states = (self.parts.states)();
        daemon::add(&mut samples, &self.parts, states);
        let before = self.parts.engine.record_counts();
        let figures = self.desk.read(&self.parts.engine, began, true);
        samples.add(&catalogue::RUNTIME_UNREADABLE, [], figures.is_err());
        match figures {
            Ok(figures) => {
                let mut recorded = self.parts.engine.record_counts();
                // What was loaded or unloaded meanwhile is not lost.
                recorded.programs.retain(|id| before.programs.contains(id));
                programs::add(&mut samples, &mut memory.programs, &figures.programs, &recorded, states);
                maps::add(&mut samples, &figures.maps, &self.entries.known(began));
                self.entries.count_beside(&self.parts.engine, &figures.maps);
                let memory = &mut *memory;
                chains::add(&mut samples, (&mut memory.members, &mut memory.chains), &figures.chains);
            }
            Err(error) => tracing::warn!(%error, "metrics are without programs, chains and maps"),
        }
        add_process(&mut samples);
        let text = samples.text();
        memory.took = began.elapsed();
        text
    }
}
