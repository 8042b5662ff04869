//! Context that the parts of the agent share.

pub mod calls;
pub mod daemon_link;
pub mod ended;
pub mod write_status;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bpfman_apply::daemon::Daemon;
use kube::runtime::watcher::Error;
use tokio::sync::Notify;

use bpfman_application::scope::ApplicationKey;
use bpfman_runtime::connect::why;
use bpfman_runtime::manager::Manager;
use bpfman_runtime::note::{EventWriter, Limiter};
use bpfman_runtime::queue::{Queue, QueueCause};
use bpfman_runtime::watch_failures::WatchFailures;

use self::daemon_link::DaemonLink;
use crate::agent::figures::LastFigures;
use crate::agent::memory::Memories;
use crate::agent::memory::arriving::ArrivingPods;
use crate::agent::memory::cache::{ObjectCache, WatchSource};
use crate::agent::metrics::AgentMetrics;
use crate::agent::objects::cluster::Cluster;
use crate::agent::objects::state::StateObject;

/// Default time for which programs stay after their state object is gone.
pub const LEFTOVER_GRACE: Duration = Duration::from_secs(300);

const GATHER: Duration = Duration::from_millis(20);

/// Context of the agent.
pub struct Shared {
    pub node: String,
    pub namespace: String,
    /// True if interface discovery is enabled.
    pub discovery: bool,
    pub cluster: Cluster,
    /// Publisher of events.
    pub events: EventWriter,
    /// Rate limit of events, by the uid of the state object.
    pub limiter: Mutex<Limiter<String>>,
    pub daemon: Daemon,
    /// Connection state of the daemon.
    pub daemon_link: DaemonLink,
    pub cache: ObjectCache,
    /// Applications to reconcile.
    pub queue: Queue<ApplicationKey>,
    /// Pods with a network that is being set up.
    pub arriving: ArrivingPods,
    /// Notified when applications may have changed.
    pub changed: Notify,
    /// Current failures of watches.
    pub troubles: WatchFailures<WatchSource>,
    /// State kept for each application.
    pub memories: Memories,
    pub metrics: Arc<AgentMetrics>,
    /// Resource usage of programs, on request.
    pub figures: LastFigures,
    /// Time for which programs stay after their state object is gone.
    pub leftover_grace: Duration,
    acts: AtomicBool,
}

impl Shared {
    /// Creates a context without any known objects.
    #[must_use]
    pub fn new(
        node: &str,
        namespace: &str,
        discovery: bool,
        cluster: Cluster,
        daemon: Daemon,
        metrics: Arc<AgentMetrics>,
    ) -> Self {
        Self {
            node: node.to_owned(),
            namespace: namespace.to_owned(),
            discovery,
            events: EventWriter::new(cluster.client(), Manager::Agent, node.to_owned()),
            limiter: Mutex::default(),
            cluster,
            daemon,
            daemon_link: DaemonLink::default(),
            cache: ObjectCache::default(),
            queue: Queue::new(GATHER),
            arriving: ArrivingPods::default(),
            changed: Notify::new(),
            troubles: WatchFailures::default(),
            memories: Memories::default(),
            metrics,
            figures: LastFigures::default(),
            leftover_grace: LEFTOVER_GRACE,
            acts: AtomicBool::new(false),
        }
    }

    /// Queues applications for reconciliation. Ignored until everything is listed, which queues all of them.
    pub fn reconcile_soon(&self, keys: &[ApplicationKey], cause: QueueCause) {
        if self.cache.known().complete() {
            keys.iter().for_each(|key| self.queue.add(key, cause));
            self.changed.notify_one();
        }
    }

    /// Stores a state object as returned by the API server. A new order is reconciled at once: no watch event follows.
    pub fn learned(&self, state: StateObject) {
        let key = state.application.clone();
        if self.cache.known().learn(state) {
            self.reconcile_soon(&[key], QueueCause::Changed);
        }
    }

    pub fn reconcile_all(&self, cause: QueueCause) {
        let keys: Vec<_> = self.cache.known().keys().into_iter().collect();
        self.reconcile_soon(&keys, cause);
    }

    /// Records that a list is complete.
    pub fn listed(&self, source: WatchSource) {
        self.troubles.over(&source);
        let first = self.cache.known().listed(source);
        if first {
            tracing::info!("everything is known");
            self.reconcile_all(QueueCause::Changed);
        }
    }

    /// Records the failure of a watch; it is retried, and the known objects stay.
    pub fn watch_failed(&self, source: WatchSource, error: &Error) {
        self.metrics.watch_errors.add(format!("{source:?}"), 1);
        let why = why(error);
        self.troubles.note(source, why);
    }

    /// Returns whether this agent may act.
    #[must_use]
    pub fn is_acting(&self) -> bool {
        self.acts.load(Ordering::Relaxed)
    }

    /// Allows this agent to act from now on.
    pub fn start_acting(&self) {
        self.acts.store(true, Ordering::Relaxed);
    }

    /// Returns why the agent is not ready, if it is not.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        if !self.is_acting() {
            return Some("another agent acts for this daemon".to_owned());
        }
        let daemon = self.daemon_link.now();
        if !daemon.up {
            return Some(format!("the daemon at {} does not answer: {}", self.daemon.name(), daemon.why));
        }
        let (missing, troubles): (Vec<_>, _) = (self.cache.known().missing().collect(), self.troubles.all());
        let shown = missing.iter().map(|source| match troubles.get(source) {
            Some(why) => format!("{source} ({why})"),
            None => source.to_string(),
        });
        let shown: Vec<_> = shown.collect();
        (!shown.is_empty()).then(|| format!("not listed yet: {}", shown.join(", ")))
    }
}
