//! Collection of all samples of a scrape.

mod chains;
mod daemon;
mod entry_counts;
mod labels;
mod maps;
mod programs;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bpfman_metrics::{Exposition, add_process};
use bpfman_model::{LinkId, ProgramId};
use bpfmand_engine::{Engine, FiguresCache};
use bpfmand_journal::Journal;
use bpfmand_kernel::Kernel;

use crate::catalogue;
use crate::monotonic_sums::MonotonicSums;
use crate::{ImageCounts, LimitCounts};
use entry_counts::EntryCounts;
use labels::{MemberCount, MemberLabels, ProgramLabels};

/// Parts of the daemon that metrics describe.
pub struct DaemonParts<K: Kernel> {
    /// Programs, chains, maps, and operations on them.
    pub engine: Arc<Engine<K>>,
    pub journal: Arc<Journal>,
    /// Counts of image loads.
    pub images: Arc<ImageCounts>,
    /// Counts of actions against programs that exceed their limits.
    pub limits: Arc<LimitCounts>,
    pub version: &'static str,
    /// Returns states that only the daemon as a whole knows.
    pub states: Box<dyn Fn() -> DaemonStates + Send + Sync>,
}

/// States that only the daemon as a whole knows.
#[derive(Clone, Copy, Debug, Default)]
pub struct DaemonStates {
    /// Set while all programs are detached by break-glass.
    pub detached: bool,
    /// Set while the kernel counts and times program runs.
    pub runs_counted: bool,
    pub radar: RadarCounts,
}

/// Third-party activity seen by the radar since it was enabled.
#[derive(Clone, Copy, Debug, Default)]
pub struct RadarCounts {
    /// Source of events; `off` while it is disabled.
    pub source: &'static str,
    /// Number of third-party actions.
    pub events: u64,
    /// Number of these without details.
    pub lost: u64,
    /// Number of third-party changes to the daemon's hooks.
    pub touches: u64,
}

/// Collector of metrics. Collections are serialized: sums accumulate from one to the next.
pub struct DaemonMetrics<K: Kernel> {
    parts: DaemonParts<K>,
    desk: FiguresCache,
    memory: Mutex<Memory>,
    entries: Arc<EntryCounts>,
}

#[derive(Debug, Default)]
struct Memory {
    took: Duration,
    programs: MonotonicSums<ProgramId, ProgramLabels, 4>,
    members: MonotonicSums<(LinkId, MemberCount), MemberLabels, 1>,
    chains: MonotonicSums<(String, &'static str), (String, &'static str), 1>,
}

impl<K: Kernel> DaemonMetrics<K> {
    #[must_use]
    pub fn new(parts: DaemonParts<K>) -> Self {
        Self { parts, desk: FiguresCache::default(), memory: Mutex::default(), entries: Arc::default() }
    }

    /// Returns all present metrics in OpenMetrics format. Reads from the kernel, and does not wait for changes.
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
                // Programs loaded or unloaded meanwhile are not lost.
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
