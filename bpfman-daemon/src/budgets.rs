//! Watches what ends by itself: programs that take more of a CPU than they may, and what has lived as long as it was to.
//!
//! The kernel times programs only while somebody is attached whom a limit is for: that costs each run of every program of the
//! machine some ten nanoseconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;
use std::time::Duration;

use bpfmand_access::AccessPolicy;
use bpfmand_api::{AccessSource as _, Gate};
use bpfmand_core::{CpuExcess, CpuLimit, Owner, ProgramUid};
use bpfmand_engine::{
    CpuOutcome, CpuReadings, Ending, Engine, EngineError, Expired, ProgramRecord, excesses,
};
use bpfmand_journal::{DaemonPart, HistoryEntry, Journal};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::{KernelFacts as _, RunClock};
use bpfmand_observe::LimitCounts;

use crate::policy::PolicySource;

/// So long it sleeps at most: policies change without a word.
const TURN: Duration = Duration::from_secs(5);
/// While something is measured or about to end.
const BUSY_TURN: Duration = Duration::from_secs(1);
/// Records that change are looked at this often at most.
const REST: Duration = Duration::from_millis(50);
/// Failures that are remembered, so that each is told once.
const MOST_TOLD: usize = 1_000;
/// Detaching builds chains, as a request does.
const STACK: usize = 1 << 20;

/// The thread, which ends some time after this value is dropped.
pub struct Budgets {
    stop: Arc<AtomicBool>,
    measures: Arc<AtomicBool>,
}

impl Budgets {
    /// Starts it. CPU time is measured over windows of `window`; `counts` are of what is done.
    pub fn start(
        engine: Arc<Engine<LinuxKernel>>,
        policy: Arc<PolicySource>,
        journal: Arc<Journal>,
        gate: Arc<Gate>,
        (window, counts): (Duration, Arc<LimitCounts>),
    ) -> std::io::Result<Self> {
        let [stop, measures] = [false; 2].map(|no| Arc::new(AtomicBool::new(no)));
        let mut worker = Worker {
            engine,
            policy,
            journal,
            gate,
            window,
            counts,
            stop: Arc::clone(&stop),
            measures: Arc::clone(&measures),
            measuring: None,
            last_was_empty: false,
            told: BTreeMap::new(),
        };
        Builder::new().name("budgets".to_owned()).stack_size(STACK).spawn(move || worker.run())?;
        Ok(Self { stop, measures })
    }

    /// Whether it measures what somebody takes: without a daemon nobody would be limited.
    pub fn measures(&self) -> bool {
        self.measures.load(Ordering::Relaxed)
    }
}

impl Drop for Budgets {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What the kernel counted until a moment, and what has it count.
struct Measuring {
    _clock: Box<dyn RunClock>,
    readings: CpuReadings,
}

struct Worker {
    engine: Arc<Engine<LinuxKernel>>,
    policy: Arc<PolicySource>,
    journal: Arc<Journal>,
    gate: Arc<Gate>,
    window: Duration,
    counts: Arc<LimitCounts>,
    stop: Arc<AtomicBool>,
    measures: Arc<AtomicBool>,
    measuring: Option<Measuring>,
    /// Whether nobody was limited at the last look.
    last_was_empty: bool,
    /// What could not be done, by what it is about: told once as long as it is the same.
    told: BTreeMap<String, String>,
}

impl Worker {
    fn run(&mut self) {
        let mut seen = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let wait = self.turn();
            std::thread::sleep(REST);
            seen = self.engine.wait_for_change(seen, wait);
        }
    }

    /// One look. Answers when the next one is due.
    fn turn(&mut self) -> Duration {
        // Nothing of ours is attached while all stands still.
        let gate = Arc::clone(&self.gate);
        let Ok(_inside) = gate.enter() else {
            self.rest();
            return BUSY_TURN;
        };
        let due = [self.expire(), self.measure()];
        due.into_iter().flatten().min().map_or(TURN, |due| due.min(BUSY_TURN))
    }

    fn expire(&mut self) -> Option<Duration> {
        match self.engine.expire() {
            Ok(expired) => expired.iter().for_each(|one| self.tell_expired(one)),
            Err(error) => self.cannot("deadlines", &error),
        }
        // One that could not be ended is tried again after a while.
        let next = self.engine.next_deadline().ok().flatten()?;
        Some(if next.is_zero() { BUSY_TURN } else { next })
    }

    fn tell_expired(&mut self, expired: &Expired) {
        if let Some(error) = &expired.failure {
            self.cannot(&expired.what, error);
            return;
        }
        self.told.remove(about(&expired.what));
        let why = match expired.ending {
            Ending::Deadline => "expired",
            Ending::Lease => "its client is gone",
        };
        tracing::info!("{}: {why}", expired.what);
        let object = format!("{}: {why}", expired.what);
        let mut entry = HistoryEntry::of_daemon(DaemonPart::Limits, "Expire", &object);
        entry.programs = expired.programs.iter().map(|id| id.0).collect();
        entry.links = expired.links.iter().map(|id| id.0).collect();
        entry.owners = vec![expired.owner.clone()];
        self.journal.record(entry, None);
    }

    /// Measures, and limits who took too much. None while there is nothing to be measured.
    fn measure(&mut self) -> Option<Duration> {
        let Ok(policy) = self.policy.policy() else {
            // Nobody but root may do anything until it is readable, and nothing is detached by what it said.
            self.rest();
            return None;
        };
        let limit_of = |owner: &Owner| limit_of_owner(&policy, owner);
        let is_limited =
            |program: &ProgramRecord| program.budget.cpu.is_some() || limit_of(&program.owner()).is_some();
        let is_due = self.measuring.as_ref().is_none_or(|begun| begun.readings.age() >= self.window);
        let is_anyone = self.engine.runs_any(is_limited);
        // Not before the window ends: who is attached again and again would begin a new one each time.
        if !is_anyone && (self.measuring.is_none() || self.last_was_empty && is_due) {
            self.rest();
            self.engine.forget_warnings_but(&[]);
            return None;
        }
        let Some(before) = &self.measuring else {
            match self.begin() {
                Ok(begun) => {
                    self.told.remove("CPU time");
                    self.measuring = Some(begun);
                    self.measures.store(true, Ordering::Relaxed);
                }
                Err(error) => self.cannot("CPU time", &error),
            }
            return Some(self.window);
        };
        if !is_due {
            return Some(self.window.saturating_sub(before.readings.age()));
        }
        self.last_was_empty = !is_anyone;
        let after = match self.engine.read_cpu() {
            Ok(after) => after,
            Err(error) => {
                self.cannot("CPU time", &error);
                return Some(self.window);
            }
        };
        let uses = self.engine.cpu_between(&before.readings, &after);
        let over = excesses(&uses, after.since(&before.readings), limit_of);
        for (program, excess) in &over {
            self.limit(*program, excess);
        }
        let over: Vec<ProgramUid> = over.into_iter().map(|(program, _)| program).collect();
        self.engine.forget_warnings_but(&over);
        if let Some(measuring) = &mut self.measuring {
            measuring.readings = after;
        }
        Some(self.window)
    }

    fn rest(&mut self) {
        self.measuring = None;
        self.last_was_empty = false;
        self.measures.store(false, Ordering::Relaxed);
        self.engine.end_of_readings();
    }

    fn begin(&self) -> Result<Measuring, EngineError> {
        let clock = self.engine.kernel().count_runs()?;
        Ok(Measuring { _clock: clock, readings: self.engine.read_cpu()? })
    }

    fn limit(&mut self, uid: ProgramUid, excess: &CpuExcess) {
        let Some((id, before, owner)) = self.engine.about_program(uid) else { return };
        let subject = format!("program {id}");
        let outcome = match self.engine.limit_cpu(uid, excess) {
            Ok(outcome) => {
                self.told.remove(about(&subject));
                outcome
            }
            Err(error) => {
                self.cannot(&format!("{subject}: {excess}"), &error);
                return;
            }
        };
        let (count, verb, after) = match outcome {
            CpuOutcome::StillOver | CpuOutcome::Gone => return,
            CpuOutcome::Warned => (&self.counts.warned, "OverCpu", String::new()),
            CpuOutcome::Detached { links } => {
                (&self.counts.detached, "Detach", format!("{links} links ended, until it is attached anew"))
            }
            CpuOutcome::TookBack => {
                (&self.counts.took_back, "TakeBack", "the version before took its place".to_owned())
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%owner, "{subject}: {excess}: {verb} {after}");
        let mut entry = HistoryEntry::of_daemon(DaemonPart::Limits, verb, &format!("{subject}: {excess}"));
        (entry.programs, entry.owners) = (vec![id.0], vec![owner.to_string()]);
        (entry.before, entry.after) = (before, after);
        self.journal.record(entry, None);
    }

    /// Tells what could not be done, once as long as it is the same.
    fn cannot(&mut self, what: &str, error: &EngineError) {
        let why = error.to_string();
        if self.told.len() >= MOST_TOLD {
            self.told.clear();
        }
        if self.told.insert(about(what).to_owned(), why.clone()).as_ref() == Some(&why) {
            return;
        }
        tracing::warn!(%error, "limits: {what}: not done, and tried again");
        let entry = HistoryEntry::of_daemon(DaemonPart::Limits, "Limit", what);
        self.journal.record(entry.unless_failed(Some(&why)), None);
    }
}

/// What a text is about: figures that follow differ each time.
fn about(what: &str) -> &str {
    what.split(": ").next().unwrap_or(what)
}

/// What all programs of an owner may take together. A grant that is removed limits nobody.
fn limit_of_owner(policy: &AccessPolicy, owner: &Owner) -> Option<CpuLimit> {
    let Owner::Grant(name) = owner else { return None };
    policy.grants.iter().find(|grant| grant.name == *name)?.limits.cpu
}
