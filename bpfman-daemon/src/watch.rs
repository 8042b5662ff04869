//! Background checks: interfaces that appear and disappear, and changes of hooks by third parties. One thread per
//! namespace waits for the kernel's messages; another looks for new namespaces and compares all hooks with the records.
//! The socket of a watch keeps its namespace alive for at most a second after its file is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use bpfman_model::InterfaceEvent;
use bpfmand_api::Gate;
use bpfmand_engine::{Engine, EngineError, FollowReport};
use bpfmand_journal::Journal;
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::{InterfaceWatch, KernelError, KernelNetwork as _};
use bpfmand_store::FileError;

use crate::break_glass_watcher::BreakGlassWatcher;
use crate::budgets::Budgets;
use crate::own_actions::{self, Checks};

const SPACING: Duration = Duration::from_millis(20);
/// Maximum delay before a thread notices that it should stop.
const STOP_POLL_INTERVAL: Duration = Duration::from_secs(1);
const ABSENT_CHECK_INTERVAL: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(100);
const REST: Duration = Duration::from_millis(5);
/// Stack of a thread, as large as for requests: attaching to an interface builds a chain.
const STACK: usize = 1 << 20;

type Daemon = Engine<LinuxKernel>;

/// Watching threads, which exit some time after this value is dropped.
pub struct Watcher {
    stop: Arc<AtomicBool>,
}

impl Watcher {
    pub fn start(
        engine: Arc<Daemon>,
        check: Option<Duration>,
        journal: Arc<Journal>,
        glass: BreakGlassWatcher,
        budgets: Arc<Budgets>,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut supervisor = Supervisor {
            engine,
            check,
            stop: Arc::clone(&stop),
            watched: BTreeMap::new(),
            refused: BTreeMap::new(),
            absent: BTreeSet::new(),
            not_held: None,
            told: Checks::new(Arc::clone(&journal)),
            shared: Arc::new(Shared { gate: glass.gate(), journal }),
            glass,
            budgets,
        };
        Builder::new().name("watch".to_owned()).stack_size(STACK).spawn(move || supervisor.run())?;
        Ok(Self { stop })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Watched {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

struct Supervisor {
    engine: Arc<Daemon>,
    check: Option<Duration>,
    stop: Arc<AtomicBool>,
    watched: BTreeMap<Option<PathBuf>, Watched>,
    refused: BTreeMap<Option<PathBuf>, String>,
    absent: BTreeSet<Option<PathBuf>>,
    not_held: Option<String>,
    shared: Arc<Shared>,
    told: Checks,
    glass: BreakGlassWatcher,
    budgets: Arc<Budgets>,
}

struct Shared {
    journal: Arc<Journal>,
    gate: Arc<Gate>,
}

impl Supervisor {
    fn run(&mut self) {
        let mut seen = 0;
        let (mut checked, mut looked) = (Instant::now(), Instant::now());
        while !self.stop.load(Ordering::Relaxed) {
            if self.glass.poll() {
                // This releases namespaces that have ended.
                self.hold_namespaces();
                std::thread::sleep(LOOK);
                continue;
            }
            self.budgets.poll();
            self.hold_namespaces();
            let wanted = self.engine.watched_namespaces();
            let all_watched = self.watch_all(&wanted);
            if self.check.is_some_and(|check| checked.elapsed() >= check) {
                self.told.tell(&self.engine.check_all());
                for netns in &wanted {
                    follow(&self.engine, &self.shared, netns.as_deref(), None);
                }
                checked = Instant::now();
            }
            // A namespace without a path ends without a message; its programs run until then. The search
            // examines every process.
            if looked.elapsed() >= ABSENT_CHECK_INTERVAL {
                for netns in self.absent.iter().filter(|netns| self.engine.has_hooks_named(netns.as_deref()))
                {
                    follow(&self.engine, &self.shared, netns.as_deref(), None);
                }
                looked = Instant::now();
            }
            let mut wait =
                if all_watched && !self.engine.expects_namespaces() { STOP_POLL_INTERVAL } else { LOOK };
            if let Some(check) = self.check {
                wait = wait.min(check.saturating_sub(checked.elapsed()));
            }
            std::thread::sleep(REST);
            seen = self.engine.wait_for_change(seen, wait);
        }
        for watched in self.watched.values() {
            watched.stop.store(true, Ordering::Relaxed);
        }
    }

    fn hold_namespaces(&mut self) {
        let failure = self.engine.hold_namespaces().err().map(|error| error.to_string());
        if let Some(reason) = failure.as_ref().filter(|_| failure != self.not_held) {
            tracing::warn!(%reason, "network namespaces are not held: another may get the inode of one that ends");
        }
        self.not_held = failure;
    }

    fn watch_all(&mut self, wanted: &BTreeSet<Option<PathBuf>>) -> bool {
        self.watched.retain(|netns, watched| {
            if !wanted.contains(netns) {
                watched.stop.store(true, Ordering::Relaxed);
            }
            wanted.contains(netns) && !watched.thread.is_finished()
        });
        self.refused.retain(|netns, _| wanted.contains(netns));
        self.absent.clear();
        let mut all = true;
        for netns in wanted {
            if self.watched.contains_key(netns) {
                continue;
            }
            match self.watch(netns.as_ref()) {
                Ok(watched) => {
                    self.watched.insert(netns.clone(), watched);
                    self.refused.remove(netns);
                }
                Err(error) => {
                    all = false;
                    // A missing namespace is expected to appear; any other reason is logged once.
                    let is_absent = matches!(error, EngineError::Kernel(KernelError::NoNamespace { .. }));
                    if is_absent {
                        self.absent.insert(netns.clone());
                    }
                    let reason = error.to_string();
                    if !is_absent && self.refused.get(netns) != Some(&reason) {
                        tracing::warn!(%reason, ?netns, "interfaces are not watched");
                    }
                    self.refused.insert(netns.clone(), reason);
                }
            }
        }
        all
    }

    fn watch(&self, netns: Option<&PathBuf>) -> Result<Watched, EngineError> {
        let watch = self.engine.kernel().watch_interfaces(netns.map(PathBuf::as_path))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (engine, ended, path) = (Arc::clone(&self.engine), Arc::clone(&stop), netns.cloned());
        let shared = Arc::clone(&self.shared);
        let thread = Builder::new()
            .name("interfaces".to_owned())
            .stack_size(STACK)
            .spawn(move || watch_namespace((&engine, &shared), path.as_deref(), watch, &ended))
            .map_err(|source| {
                EngineError::from(FileError {
                    action: "start a thread for",
                    path: "the watch of interfaces".to_owned(),
                    source,
                })
            })?;
        Ok(Watched { stop, thread })
    }
}

fn watch_namespace(
    (engine, shared): (&Daemon, &Shared),
    netns: Option<&Path>,
    mut watch: Box<dyn InterfaceWatch>,
    stop: &AtomicBool,
) {
    let mut failure = follow(engine, shared, netns, None);
    while !stop.load(Ordering::Relaxed) {
        match watch.next(STOP_POLL_INTERVAL) {
            // After a failure, retry even without events: there may be no further one.
            Ok(events) if events.is_empty() && failure.is_none() => {}
            Ok(events) => {
                if events.contains(&InterfaceEvent::NamespaceGone) {
                    drop(watch);
                    follow(engine, shared, netns, None);
                    return;
                }
                failure = follow(engine, shared, netns, failure.as_deref());
                std::thread::sleep(SPACING);
            }
            Err(error) => {
                tracing::warn!(%error, ?netns, "the watch of interfaces ended and is begun again");
                return;
            }
        }
    }
}

/// Returns the reason for a retry, if needed; one already in `told` is not logged again.
fn follow(engine: &Daemon, shared: &Shared, netns: Option<&Path>, told: Option<&str>) -> Option<String> {
    // Changes during break-glass are handled when attachments are restored.
    let Ok(_inside) = shared.gate.enter() else { return Some("changes are suspended".to_owned()) };
    let began = Instant::now();
    let before = engine.hook_changes();
    match engine.follow_interfaces(netns) {
        Ok(report) if report.is_empty() => {}
        Ok(report) => {
            own_actions::of_interfaces(&shared.journal, netns, &report);
            let FollowReport { attached, detached, renamed, waiting, returned, problems } = report;
            let changes = engine.hook_changes();
            tracing::info!(
                ?netns,
                attached,
                detached,
                renamed,
                waiting,
                returned,
                problems = problems.len(),
                took = ?began.elapsed(),
                in_kernel = ?changes.total.saturating_sub(before.total),
                longest = ?changes.longest,
                "interfaces changed"
            );
            for problem in problems {
                tracing::warn!(?netns, "{problem}");
            }
        }
        Err(EngineError::Kernel(KernelError::NoNamespace { .. })) => {
            tracing::debug!(?netns, "the namespace is gone");
        }
        Err(error) => {
            let reason = error.to_string();
            if told != Some(&reason) {
                tracing::warn!(%error, ?netns, "interfaces cannot be followed, and will be tried again");
            }
            return Some(reason);
        }
    }
    None
}
