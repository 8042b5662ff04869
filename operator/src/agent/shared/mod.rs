//! What the parts of the agent have in common, and what each of them may do with it.

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
use bpfman_runtime::troubles::Troubles;

use self::daemon_link::DaemonLink;
use crate::agent::figures::LastFigures;
use crate::agent::memory::Memories;
use crate::agent::memory::arriving::ArrivingPods;
use crate::agent::memory::cache::{ObjectCache, WatchSource};
use crate::agent::metrics::AgentMetrics;
use crate::agent::objects::cluster::Cluster;
use crate::agent::objects::state::StateObject;

/// How long programs stay whose state object is gone, unless it is said otherwise.
pub const LEFTOVER_GRACE: Duration = Duration::from_secs(300);

/// Events that come together are one reconcile.
const GATHER: Duration = Duration::from_millis(20);

/// The agent's parts.
pub struct Shared {
    /// Name of the node.
    pub node: String,
    /// The operator's namespace.
    pub namespace: String,
    /// Whether interfaces are looked for.
    pub discovery: bool,
    /// The API server.
    pub cluster: Cluster,
    /// Tells people, on the API server.
    pub events: EventWriter,
    /// So that they are not told too often, by the uid of the state object.
    pub limiter: Mutex<Limiter<String>>,
    /// The daemon.
    pub daemon: Daemon,
    /// How things stand with it.
    pub daemon_link: DaemonLink,
    /// What watches said last.
    pub cache: ObjectCache,
    /// What is to be reconciled.
    pub queue: Queue<ApplicationKey>,
    /// Pods whose network is being set up.
    pub arriving: ArrivingPods,
    /// Rings when applications may have changed.
    pub changed: Notify,
    /// Why watches fail.
    pub troubles: Troubles<WatchSource>,
    /// What is kept of each application.
    pub memories: Memories,
    /// Figures.
    pub metrics: Arc<AgentMetrics>,
    /// What programs take, for who asks.
    pub figures: LastFigures,
    /// How long programs stay whose state object is gone.
    pub leftover_grace: Duration,
    acts: AtomicBool,
}

impl Shared {
    /// Parts that know nothing yet.
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
            troubles: Troubles::default(),
            memories: Memories::default(),
            metrics,
            figures: LastFigures::default(),
            leftover_grace: LEFTOVER_GRACE,
            acts: AtomicBool::new(false),
        }
    }

    /// Has applications reconciled. Before everything is known, nothing is: then all are.
    pub fn reconcile_soon(&self, keys: &[ApplicationKey], cause: QueueCause) {
        if self.cache.known().complete() {
            keys.iter().for_each(|key| self.queue.add(key, cause));
            self.changed.notify_one();
        }
    }

    /// Takes over what the API server answered about a state object. An order that comes to be known this way is
    /// reconciled like one from a watch: the watch will report nothing new of it.
    pub fn learned(&self, state: StateObject) {
        let key = state.application.clone();
        if self.cache.known().learn(state) {
            self.reconcile_soon(&[key], QueueCause::Changed);
        }
    }

    /// Has every application reconciled.
    pub fn reconcile_all(&self, cause: QueueCause) {
        let keys: Vec<_> = self.cache.known().keys().into_iter().collect();
        self.reconcile_soon(&keys, cause);
    }

    /// A list is complete.
    pub fn listed(&self, source: WatchSource) {
        self.troubles.over(&source);
        let first = self.cache.known().listed(source);
        if first {
            tracing::info!("everything is known");
            self.reconcile_all(QueueCause::Changed);
        }
    }

    /// A watch failed; it is tried again, with what is known as it is.
    pub fn watch_failed(&self, source: WatchSource, error: &Error) {
        self.metrics.watch_errors.add(format!("{source:?}"), 1);
        let why = why(error);
        self.troubles.note(source, why);
    }

    /// Whether this agent may act.
    #[must_use]
    pub fn is_acting(&self) -> bool {
        self.acts.load(Ordering::Relaxed)
    }

    /// This agent may act from now on.
    pub fn start_acting(&self) {
        self.acts.store(true, Ordering::Relaxed);
    }

    /// Why it is not ready, if it is not.
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
