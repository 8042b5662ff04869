//! Enforces CPU limits and deadlines. Run statistics are enabled only while a program with a limit is attached: they
//! add about ten nanoseconds to each run of every program on the machine.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use bpfman_model::{CpuLimit, Owner, ProgramUid};
use bpfmand_access::AccessPolicy;
use bpfmand_api::{AccessSource as _, Gate};
use bpfmand_engine::{
    CpuOutcome, CpuReadings, Ending, Engine, EngineError, Expired, OverLimit, ProgramRecord, TrapLimit,
    excesses, is_tenants_probe, trap_excesses,
};
use bpfmand_journal::{DaemonPart, HistoryEntry, Journal};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::{KernelFacts as _, RunClock};
use bpfmand_observe::LimitCounts;

use crate::policy::PolicySource;

const INTERVAL: Duration = Duration::from_secs(1);
/// Minimum interval between two checks, however often records change.
const REST: Duration = Duration::from_millis(50);
/// Minimum pause after a window that counted breakpoints, in windows. A random number is added, so that no
/// tenant knows when the next window begins.
const PAUSE: u32 = 5;
/// Maximum number of remembered failures; each is logged once.
const MAX_REMEMBERED: usize = 1_000;
/// Stack of the thread, as large as for requests: detaching builds chains.
const STACK: usize = 1 << 20;

/// Enforcement of limits, with a thread that exists only while something has a limit or a deadline.
pub struct Budgets {
    seat: Arc<Seat>,
    measures: Arc<AtomicBool>,
}

struct Seat {
    resting: Mutex<Option<Worker>>,
    stop: AtomicBool,
}

impl Seat {
    fn lock(&self) -> MutexGuard<'_, Option<Worker>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let taken = self.lock().take();
        let Some(mut worker) = taken else { return };
        let mut seen = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let due = worker.turn();
            if due.is_none() {
                worker.engine.forget_warnings_but(&[]);
                let mut resting = self.lock();
                // The next poll waits for this lock, so that it sees every record written after this check.
                if worker.gate.check().is_err() || !worker.is_needed() {
                    *resting = Some(worker);
                    return;
                }
            }
            std::thread::sleep(REST);
            seen = worker.engine.wait_for_change(seen, due.unwrap_or(INTERVAL));
        }
    }
}

impl Budgets {
    pub fn new(
        engine: Arc<Engine<LinuxKernel>>,
        policy: Arc<PolicySource>,
        journal: Arc<Journal>,
        gate: Arc<Gate>,
        settings: BudgetSettings,
        counts: Arc<LimitCounts>,
    ) -> Self {
        let measures = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            engine,
            policy,
            journal,
            gate,
            settings,
            counts,
            measures: Arc::clone(&measures),
            measuring: None,
            pause: None,
            last_was_empty: false,
            told: BTreeMap::new(),
        };
        let seat = Seat { resting: Mutex::new(Some(worker)), stop: AtomicBool::new(false) };
        Self { seat: Arc::new(seat), measures }
    }

    /// Enforces limits. Call it after each change of records, without the engine's lock, and every second.
    pub fn poll(&self) {
        let resting = self.seat.lock();
        if !resting.as_ref().is_some_and(Worker::is_needed) {
            return;
        }
        let seat = Arc::clone(&self.seat);
        let thread = Builder::new().name("budgets".to_owned()).stack_size(STACK);
        if let Err(error) = thread.spawn(move || seat.work()) {
            tracing::warn!(%error, "no thread can be started that watches limits");
        }
    }

    pub fn stop(&self) {
        self.seat.stop.store(true, Ordering::Relaxed);
    }

    /// Returns whether CPU time is measured. The daemon must then not exit when idle: no limit would apply.
    pub fn measures(&self) -> bool {
        self.measures.load(Ordering::Relaxed)
    }
}

/// Settings of the limits.
#[derive(Clone, Copy, Debug)]
pub struct BudgetSettings {
    pub window: Duration,
    pub traps: Option<TrapLimit>,
}

/// Readings at the start of a window, with the handle that keeps run statistics enabled.
struct Measuring {
    _clock: Box<dyn RunClock>,
    readings: CpuReadings,
    /// True if a limited program was attached at any time in the window: detaching it shortens no window.
    is_for_limits: bool,
}

struct Worker {
    engine: Arc<Engine<LinuxKernel>>,
    policy: Arc<PolicySource>,
    journal: Arc<Journal>,
    gate: Arc<Gate>,
    settings: BudgetSettings,
    counts: Arc<LimitCounts>,
    measures: Arc<AtomicBool>,
    measuring: Option<Measuring>,
    /// End of a pause between windows in which only breakpoints are counted.
    pause: Option<Instant>,
    last_was_empty: bool,
    /// Last failure by object, so that a repeated one is logged once.
    told: BTreeMap<String, String>,
}

impl Worker {
    fn is_needed(&self) -> bool {
        // Read the policy at each turn: only a policy that has been read can become the last good one.
        let policy = self.policy.policy();
        self.engine.has_deadlines()
            || self.engine.runs_any(|one| is_limited(&policy, one) || self.counts_traps_of(one))
    }

    fn counts_traps_of(&self, program: &ProgramRecord) -> bool {
        self.settings.traps.is_some() && is_tenants_probe(program)
    }

    /// Performs one check. Returns the time until the next one, or `None` if there is nothing to enforce.
    fn turn(&mut self) -> Option<Duration> {
        let gate = Arc::clone(&self.gate);
        let Ok(_inside) = gate.enter() else {
            self.rest();
            return None;
        };
        let due = [self.expire(), self.measure()];
        due.into_iter().flatten().min().map(|due| due.min(INTERVAL))
    }

    fn expire(&mut self) -> Option<Duration> {
        match self.engine.expire() {
            Ok(expired) => expired.iter().for_each(|one| self.log_expired(one)),
            Err(error) => self.cannot("deadlines", &error),
        }
        // A failed removal is retried after a while.
        let next = self.engine.next_deadline().ok().flatten()?;
        Some(if next.is_zero() { INTERVAL } else { next })
    }

    fn log_expired(&mut self, expired: &Expired) {
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

    fn measure(&mut self) -> Option<Duration> {
        let policy = self.policy.policy();
        let limit_of = |owner: &Owner| limit_of_owner(&policy, owner);
        let is_limit = self.engine.runs_any(|program| is_limited(&policy, program));
        let is_anyone = is_limit || self.engine.runs_any(|program| self.counts_traps_of(program));
        if let Some(measuring) = &mut self.measuring {
            measuring.is_for_limits |= is_limit;
        }
        let is_for_limits = self.measuring.as_ref().map_or(is_limit, |measuring| measuring.is_for_limits);
        // Statistics cost each run of every program: for breakpoints alone, they are on for about a tenth of the time.
        let window = if is_for_limits { self.settings.window } else { self.settings.window.min(INTERVAL) };
        // A pause continues while no probe is attached: attaching one again begins no window.
        self.pause = self.pause.filter(|end| !is_limit && *end > Instant::now());
        if let Some(end) = self.pause.filter(|_| is_anyone) {
            return Some(end.saturating_duration_since(Instant::now()));
        }
        let is_due = self.measuring.as_ref().is_none_or(|begun| begun.readings.age() >= window);
        // Do not stop before the window ends: a program reattached again and again would start a new one each time.
        if !is_anyone && (self.measuring.is_none() || self.last_was_empty && is_due) {
            self.rest();
            self.engine.forget_warnings_but(&[]);
            return None;
        }
        let Some(before) = &self.measuring else {
            match self.begin(is_limit) {
                Ok(begun) => {
                    self.told.remove("CPU time");
                    self.measuring = Some(begun);
                    self.measures.store(true, Ordering::Relaxed);
                }
                Err(error) => self.cannot("CPU time", &error),
            }
            return Some(window);
        };
        if !is_due {
            return Some(window.saturating_sub(before.readings.age()));
        }
        self.last_was_empty = !is_anyone;
        let after = match self.engine.read_cpu() {
            Ok(after) => after,
            Err(error) => {
                self.cannot("CPU time", &error);
                return Some(window);
            }
        };
        let uses = self.engine.cpu_between(&before.readings, &after);
        let measured = after.since(&before.readings);
        let mut over = excesses(&uses, measured, limit_of);
        over.extend(self.settings.traps.into_iter().flat_map(|limit| trap_excesses(&uses, measured, limit)));
        for one in &over {
            self.limit(one);
        }
        let over: Vec<ProgramUid> = over.into_iter().map(|one| one.program).collect();
        self.engine.forget_warnings_but(&over);
        if !is_for_limits {
            self.rest();
            // Measuring continues after the pause: the daemon must not exit when idle.
            self.measures.store(true, Ordering::Relaxed);
            // Short if a limit was exceeded: a detached probe may be attached again at once.
            let pause = window * if over.is_empty() { PAUSE + up_to(PAUSE + 4) } else { up_to(2) };
            self.pause = Some(Instant::now() + pause);
            return Some(pause);
        }
        if let Some(measuring) = &mut self.measuring {
            (measuring.readings, measuring.is_for_limits) = (after, is_limit);
        }
        Some(window)
    }

    fn rest(&mut self) {
        self.measuring = None;
        self.last_was_empty = false;
        self.measures.store(false, Ordering::Relaxed);
        self.engine.end_of_readings();
    }

    fn begin(&self, is_for_limits: bool) -> Result<Measuring, EngineError> {
        let clock = self.engine.kernel().count_runs()?;
        Ok(Measuring { _clock: clock, readings: self.engine.read_cpu()?, is_for_limits })
    }

    fn limit(&mut self, over: &OverLimit) {
        let OverLimit { program, owner, excess, .. } = over;
        let (id, before) = self.engine.about_program(*program).map(|(id, before, _)| (id, before)).unzip();
        let subject = id.map_or_else(|| "an unloaded program".to_owned(), |id| format!("program {id}"));
        let outcome = match self.engine.limit_cpu(over) {
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
            CpuOutcome::Detached { attachments } => {
                let ended = if attachments == 1 { "attachment" } else { "attachments" };
                (
                    &self.counts.detached,
                    "Detach",
                    format!("{attachments} {ended} ended, until it is attached again"),
                )
            }
            CpuOutcome::Ended => (
                &self.counts.warned,
                "OverCpu",
                "it had been detached before, and counts for its owner".to_owned(),
            ),
            CpuOutcome::TookBack => {
                (&self.counts.took_back, "TakeBack", "the version before took its place".to_owned())
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%owner, "{subject}: {excess}: {verb} {after}");
        let mut entry = HistoryEntry::of_daemon(DaemonPart::Limits, verb, &format!("{subject}: {excess}"));
        (entry.programs, entry.owners) = (id.iter().map(|id| id.0).collect(), vec![owner.to_string()]);
        (entry.before, entry.after) = (before.unwrap_or_default(), after);
        self.journal.record(entry, None);
    }

    fn cannot(&mut self, what: &str, error: &EngineError) {
        let why = error.to_string();
        if self.told.len() >= MAX_REMEMBERED {
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

/// Returns a number that cannot be guessed, from 0 to `most`.
fn up_to(most: u32) -> u32 {
    let random = RandomState::new().hash_one(Instant::now());
    (random % u64::from(most + 1)) as u32
}

/// Returns the object of a message, without the numbers that follow and differ each time.
fn about(what: &str) -> &str {
    what.split(": ").next().unwrap_or(what)
}

fn is_limited(policy: &AccessPolicy, program: &ProgramRecord) -> bool {
    program.budget.cpu.is_some() || limit_of_owner(policy, &program.owner()).is_some()
}

/// Returns the limit for all programs of an owner together; `None` after its grant was removed.
fn limit_of_owner(policy: &AccessPolicy, owner: &Owner) -> Option<CpuLimit> {
    let Owner::Grant(name) = owner else { return None };
    policy.grants.iter().find(|grant| grant.name == *name)?.limits.cpu
}
