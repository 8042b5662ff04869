//! Watches that never end: lists in pages, resumes where the last one closed, and lists again when it cannot.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bpfman_application::{GROUP, VERSION};
use futures::StreamExt;
use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Sender;
use tracing::{debug, warn};

use super::metrics::Metrics;
use super::projection::Scope;
use super::wire::{Wire, WireApplication, WireNode, WirePod, WireState};

/// Objects a page. One page is in memory at a time.
const PAGE: u32 = 500;

/// After so many failures in a row everything is listed again, in case the server cannot go on from where we were.
const PATIENCE: u32 = 5;

/// What a watch saw.
#[expect(
    clippy::large_enum_variant,
    reason = "the largest is by far the most frequent; boxing it would cost more"
)]
pub enum Seen {
    /// An application.
    Application(Scope, Event<WireApplication>),
    /// A state object.
    Answer(Scope, Event<WireState>),
    /// A node.
    Node(Event<WireNode>),
    /// A pod of an agent.
    Agent(Event<WirePod>),
}

/// How kinds are called on the API server.
#[must_use]
pub fn resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, kind))
}

/// The kind of applications of a scope.
#[must_use]
pub fn application_resource(scope: Scope) -> ApiResource {
    resource(match scope {
        Scope::Cluster => "ClusterBpfApplication",
        Scope::Namespaced => "BpfApplication",
    })
}

/// The kind of state objects of a scope.
#[must_use]
pub fn state_resource(scope: Scope) -> ApiResource {
    resource(match scope {
        Scope::Cluster => "ClusterBpfApplicationState",
        Scope::Namespaced => "BpfApplicationState",
    })
}

/// Starts all watches; what they see comes out of one channel, in order for each kind.
pub fn start(
    client: &Client,
    namespace: &str,
    agent_selector: &str,
    metrics: &Arc<Metrics>,
    out: &Sender<Seen>,
) {
    let core = |kind| ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind));
    let everything = watcher::Config::default().page_size(PAGE);
    let spawn_all = |scope: Scope| {
        let api = Api::all_with(client.clone(), &application_resource(scope));
        let wrap = move |event| Seen::Application(scope, event);
        tokio::spawn(follow("applications", api, everything.clone(), metrics.clone(), out.clone(), wrap));
        let api = Api::all_with(client.clone(), &state_resource(scope));
        let wrap = move |event| Seen::Answer(scope, event);
        tokio::spawn(follow("states", api, everything.clone(), metrics.clone(), out.clone(), wrap));
    };
    spawn_all(Scope::Cluster);
    spawn_all(Scope::Namespaced);
    let nodes = Api::all_with(client.clone(), &core("Node"));
    tokio::spawn(follow("nodes", nodes, everything.clone(), metrics.clone(), out.clone(), Seen::Node));
    let pods = Api::namespaced_with(client.clone(), namespace, &core("Pod"));
    let agents = everything.labels(agent_selector);
    tokio::spawn(follow("agents", pods, agents, metrics.clone(), out.clone(), Seen::Agent));
}

/// Follows one kind until nobody listens any more.
async fn follow<Spec, Status>(
    name: &'static str,
    api: Api<Wire<Spec, Status>>,
    config: watcher::Config,
    metrics: Arc<Metrics>,
    out: Sender<Seen>,
    wrap: impl Fn(Event<Wire<Spec, Status>>) -> Seen,
) where
    Spec: Clone + Debug + DeserializeOwned + Send + 'static,
    Status: Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut failures = 0;
    loop {
        let mut events = watcher::watcher(api.clone(), config.clone()).boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    if matches!(event, Event::Init) {
                        metrics.listed(name);
                    } else {
                        failures = 0;
                    }
                    if out.send(wrap(event)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    failures += 1;
                    metrics.watch_failed(name);
                    if failures == 1 {
                        debug!(name, %error, "a watch ended");
                    } else {
                        warn!(name, failures, %error, "a watch cannot be resumed");
                    }
                    tokio::time::sleep(back_off(failures)).await;
                    if failures % PATIENCE == 0 {
                        break;
                    }
                }
            }
        }
    }
}

/// How long to wait after failures in a row.
fn back_off(failures: u32) -> Duration {
    Duration::from_millis(100 << failures.min(6)).min(Duration::from_secs(5))
}
