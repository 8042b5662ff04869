//! Assembles the agent and runs it.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bpfman_apply::daemon::Daemon;
use futures::FutureExt as _;
use kube::client::ClientBuilder;
use kube::runtime::watcher::Config as Watch;
use kube::{Api, Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use super::cni;
use super::metrics::AgentMetrics;
use super::options::AgentOptions;
use super::reconcile::reconcile;
use super::serve;
use super::shared::Shared;
use super::watch::{config, watch};
use crate::agent::memory::cache::WatchSource;
use crate::agent::node::leader;
use crate::agent::node::leftovers;
use crate::agent::objects::cluster::Cluster;
use crate::agent::objects::machine;
use crate::agent::shared::ended::Ended;
use crate::agent::watch::listeners;
use crate::agent::watch::{daemon, journal};
use bpfman_application::scope::Scope;
use bpfman_application::state::name::label;
use bpfman_runtime::connect::{self, ApiService};
use bpfman_runtime::manager::Manager;
use bpfman_runtime::requests::count;
use bpfman_runtime::serve::listen;
use bpfman_runtime::watch_backoff::hold_early_ends;

/// Maximum time of a reconciliation: a load may have to pull an image over a slow network first.
const MAX_TIME: Duration = Duration::from_secs(900);

const FLEET_WAIT: Duration = Duration::from_secs(30);

/// Handle of an agent.
#[derive(Clone)]
pub struct Agent(Arc<Shared>);

impl Agent {
    #[must_use]
    pub fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.0
    }

    /// Watches the API server and the daemon, and reconciles, forever. For `socket` see [`leader`].
    pub async fn work(&self, socket: &Path, workers: usize) {
        let shared = &self.0;
        let _lead = leader::acquire(socket, || ()).await;
        shared.start_acting();
        tokio::join!(
            watches(shared),
            daemon::follow(Arc::clone(shared)),
            journal::follow(Arc::clone(shared)),
            leftovers::sweep(Arc::clone(shared), shared.leftover_grace),
            work_off(shared, workers)
        );
    }
}

/// Runs `bpfman-operator agent` until a signal.
pub async fn run(options: AgentOptions) -> anyhow::Result<()> {
    let metrics = Arc::new(AgentMetrics::default());
    let mut config = Config::infer().await.context("finding the API server")?;
    Manager::Agent.introduce(&mut config);
    let client = connect::client(&config, options.pings).context("the configuration of the API server")?;
    let agent = start(&options, client_of_agent(client, &metrics), metrics);
    let listener = listen(options.health_probe_bind_address)
        .await
        .with_context(|| format!("listening on {}", options.health_probe_bind_address))?;
    tracing::info!(node = options.node_name, probes = %listener.local_addr()?, "agent of a node");
    let mut ended = signal(SignalKind::terminate())?;
    tokio::select! {
        () = agent.work(&options.daemon_socket, options.workers) => Ok(()),
        served = cni::serve(&agent.0, options.cni_socket.as_deref(), &options.cni_state_file) => served,
        served = serve::serve(Arc::clone(&agent.0), listener) => served.context("serving probes"),
        served = serve::scrapes(Arc::clone(&agent.0), &options) => served,
        _ = ended.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted.context("waiting for a signal"),
    }
}

/// Builds the client of an agent: it counts requests, and delays the next watch after a server ended one early.
#[must_use]
pub fn client_of_agent(way: ClientBuilder<ApiService>, metrics: &Arc<AgentMetrics>) -> Client {
    way.with_layer(&count(&metrics.requests)).with_layer(&hold_early_ends()).build()
}

/// Creates an agent of a node with this client.
#[must_use]
pub fn start(options: &AgentOptions, client: Client, metrics: Arc<AgentMetrics>) -> Agent {
    let mut shared = Shared::new(
        &options.node_name,
        &options.namespace,
        options.enable_interfaces_discovery,
        Cluster::new(client, &options.node_name, Arc::clone(&metrics)),
        Daemon::at(&options.daemon_socket),
        metrics,
    );
    shared.leftover_grace = Duration::from_secs(options.leftover_seconds);
    shared.queue = shared.queue.with_shares(|key| key.namespace.clone(), options.workers / 2);
    Agent::new(shared)
}

async fn watches(agent: &Shared) {
    let cluster = &agent.cluster;
    let of_this_node =
        config().labels(&format!("{}={}", bpfman_application::state::NODE_LABEL, label(&agent.node)));
    let applications = |scope| {
        let listen_to = move |agent: &Shared, event| listeners::applications(agent, scope, event);
        watch(agent, WatchSource::Applications(scope), cluster.applications(scope), config(), listen_to)
    };
    let states = |scope| {
        let listen_to = move |agent: &Shared, event| listeners::states(agent, scope, event);
        watch(agent, WatchSource::States(scope), cluster.states(scope), of_this_node.clone(), listen_to)
    };
    let nodes = Api::all_with(cluster.client(), &machine::nodes());
    let named = field("metadata.name", &agent.node);
    let pods = Api::all_with(cluster.client(), &machine::pods());
    let on_it = field("spec.nodeName", &agent.node);
    tokio::join!(
        applications(Scope::Cluster),
        applications(Scope::Namespaced),
        states(Scope::Cluster),
        states(Scope::Namespaced),
        watch(agent, WatchSource::Node, nodes, named, listeners::node),
        watch(agent, WatchSource::Pods, pods, on_it, listeners::pods),
    );
}

fn field(name: &str, value: &str) -> Watch {
    config().fields(&format!("{name}={value}"))
}

async fn work_off(shared: &Arc<Shared>, workers: usize) {
    shared.daemon_link.contacted_once().await;
    let places = Arc::new(Semaphore::new(workers.max(1)));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let key = shared.queue.next().await;
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            shared.metrics.reconciles.add(1);
            let ended = bounded(reconcile(&shared, &key)).await;
            tracing::debug!(%key, ?ended, "reconciled");
            match ended {
                Ended::Done => shared.queue.done(&key),
                Ended::Later(wait) => {
                    shared.queue.done(&key);
                    shared.queue.add_after(&key, wait);
                }
                Ended::Failed(reason) => {
                    shared.metrics.failures.add(&reason, 1);
                    let wait = shared.queue.failed(&key, None);
                    tracing::warn!(%key, reason, ?wait, "failed, and is tried again");
                }
                Ended::Waiting(reason) => {
                    shared.metrics.failures.add(&reason, 1);
                    shared.queue.failed(&key, Some(FLEET_WAIT));
                }
            }
            drop(place);
        });
    }
}

/// Retries after a timeout or panic: the application would stay busy forever otherwise.
async fn bounded(reconcile: impl Future<Output = Ended>) -> Ended {
    // Catching a panic is safe, because the locks of shared state ignore poisoning.
    match tokio::time::timeout(MAX_TIME, AssertUnwindSafe(reconcile).catch_unwind()).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(_panic)) => Ended::Failed("panic".to_owned()),
        Err(_late) => Ended::Failed("timeout".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reconcile_that_panics_has_failed() {
        let ended = bounded(async { panic!("on purpose") }).await;
        assert_eq!(ended, Ended::Failed("panic".to_owned()));
    }

    #[tokio::test]
    async fn successful_reconcile_keeps_its_result() {
        assert_eq!(bounded(async { Ended::Done }).await, Ended::Done);
    }
}
