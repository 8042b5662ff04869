//! What the parts of the agent have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bpfman_apply::daemon::Daemon;
use kube::runtime::watcher::Error;
use tokio::sync::Notify;

use super::absent::BrokenOff;
use super::api::Cluster;
use super::arriving::ArrivingPods;
use super::asked::Asked;
use super::counts::Counts;
use super::daemon::DaemonLink;
use super::heir::Settled;
use super::locks::Locks;
use super::metrics::Metrics;
use super::netns::WatchedNetns;
use super::pace::Pace;
use super::revision::Revisions;
use super::said::Said;
use super::soak::Soaks;
use super::state::StateObject;
use super::world::{Source, World};
use bpfman_application::scope::ApplicationKey;
use bpfman_runtime::connect::why;
use bpfman_runtime::queue::{Cause, Queue};
use bpfman_runtime::troubles::Troubles;

/// How long programs stay whose state object is gone, unless it is said otherwise.
pub const LEFTOVER_GRACE: Duration = Duration::from_secs(300);

/// Events that come together are one look.
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
    /// The daemon.
    pub daemon: Daemon,
    /// How things stand with it.
    pub daemon_link: DaemonLink,
    /// What is known.
    pub world: World,
    /// What is to be looked at.
    pub queue: Queue<ApplicationKey>,
    /// One at a time for each application.
    pub locks: Locks,
    /// Revisions that were read.
    pub revisions: Revisions,
    /// For which versions registries were asked.
    pub asked: Asked,
    /// Network namespaces that the daemon watches for it.
    pub netns: WatchedNetns,
    /// Pods whose network is being set up.
    pub arriving: ArrivingPods,
    /// Rings when applications may have changed.
    pub changed: Notify,
    /// Looks that broke off.
    pub broken_off: BrokenOff,
    /// State objects without one before them.
    pub settled: Settled,
    /// What the API server does not keep.
    pub said: Said,
    /// Why watches fail.
    pub troubles: Troubles<Source>,
    /// Soaks that are going on.
    pub soaks: Soaks,
    /// Writes of each state object.
    pub pace: Pace,
    /// Programs and links.
    pub counts: Counts,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// How long programs stay whose state object is gone.
    pub leftover_grace: Duration,
    leads: AtomicBool,
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
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            node: node.to_owned(),
            namespace: namespace.to_owned(),
            discovery,
            cluster,
            daemon,
            daemon_link: DaemonLink::default(),
            world: World::default(),
            queue: Queue::new(GATHER),
            locks: Locks::default(),
            revisions: Revisions::default(),
            asked: Asked::default(),
            netns: WatchedNetns::default(),
            arriving: ArrivingPods::default(),
            changed: Notify::new(),
            broken_off: BrokenOff::default(),
            settled: Settled::default(),
            said: Said::default(),
            troubles: Troubles::default(),
            soaks: Soaks::default(),
            pace: Pace::default(),
            counts: Counts::default(),
            metrics,
            leftover_grace: LEFTOVER_GRACE,
            leads: AtomicBool::new(false),
        }
    }

    /// Has applications looked at. Before everything is known, nothing is: then all are.
    pub fn look_at(&self, keys: &[ApplicationKey], cause: Cause) {
        if self.world.known().complete() {
            keys.iter().for_each(|key| self.queue.add(key, cause));
            self.changed.notify_one();
        }
    }

    /// Takes over what the API server answered about a state object. An order that comes to be known this way is looked
    /// at like one that a watch brings: the watch will say nothing new of it.
    pub fn learned(&self, state: StateObject) {
        let key = state.application.clone();
        if self.world.known().learn(state) {
            self.look_at(&[key], Cause::Changed);
        }
    }

    /// Has every application looked at.
    pub fn look_at_all(&self, cause: Cause) {
        let keys: Vec<_> = self.world.known().keys().into_iter().collect();
        self.look_at(&keys, cause);
    }

    /// A list is complete.
    pub fn listed(&self, source: Source) {
        self.troubles.over(&source);
        let first = self.world.known().listed(source);
        if first {
            tracing::info!("everything is known");
            self.look_at_all(Cause::Changed);
        }
    }

    /// A watch failed; it is tried again, with what is known as it is.
    pub fn watch_failed(&self, source: Source, error: &Error) {
        self.metrics.watch_errors.add(format!("{source:?}"), 1);
        let why = why(error);
        tracing::warn!("{source} cannot be watched, and that is tried again: {why}");
        self.troubles.note(source, why);
    }

    /// Whether this agent may act.
    #[must_use]
    pub fn leading(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    /// This agent may act from now on.
    pub fn lead(&self) {
        self.leads.store(true, Ordering::Relaxed);
    }

    /// Nothing of an application is wanted here any more.
    pub fn forget(&self, key: &ApplicationKey) {
        self.netns.set(key, std::iter::empty());
        self.world.known().in_force.remove(key);
    }

    /// Why it is not ready, if it is not.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        if !self.leading() {
            return Some("another agent acts for this daemon".to_owned());
        }
        let daemon = self.daemon_link.now();
        if !daemon.up {
            return Some(format!("the daemon at {} does not answer: {}", self.daemon.name(), daemon.why));
        }
        let (missing, troubles): (Vec<_>, _) = (self.world.known().missing().collect(), self.troubles.all());
        let shown = missing.iter().map(|source| match troubles.get(source) {
            Some(why) => format!("{source} ({why})"),
            None => source.to_string(),
        });
        let shown: Vec<_> = shown.collect();
        (!shown.is_empty()).then(|| format!("not listed yet: {}", shown.join(", ")))
    }
}
