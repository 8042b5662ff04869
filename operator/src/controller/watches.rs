//! Watches that never end: they list in pages, and resume where the last connection closed, or else list again.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;

use bpfman_application::scope::Scope;
use futures::StreamExt;
use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;

use crate::controller::deploy::{AGENT_SELECTOR, Deployed};
use crate::controller::memory::Memory;
use crate::controller::metrics::ControllerMetrics;
use bpfman_runtime::connect::why;
use bpfman_runtime::watch::{Waits, events};
use bpfman_runtime::wire::Wire;

const PAGE: u32 = 500;

/// Change of the controller's memory by one event.
pub type MemoryChange = Box<dyn FnOnce(&mut Memory) + Send>;

/// Starts all watches except that of agents. Their events arrive in one channel, in order for each kind.
pub fn start(client: &Client, metrics: &Arc<ControllerMetrics>, out: &Sender<MemoryChange>) {
    let core = |kind| ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind));
    let everything = watcher::Config::default().page_size(PAGE);
    for scope in Scope::ALL {
        let api = Api::all_with(client.clone(), &scope.applications());
        let take = move |memory: &mut Memory, event| memory.application(scope, event);
        tokio::spawn(follow("applications", api, everything.clone(), metrics.clone(), out.clone(), take));
        let api = Api::all_with(client.clone(), &scope.states());
        let take = move |memory: &mut Memory, event| memory.answer(scope, event);
        tokio::spawn(follow("states", api, everything.clone(), metrics.clone(), out.clone(), take));
    }
    let nodes = Api::all_with(client.clone(), &core("Node"));
    tokio::spawn(follow("nodes", nodes, everything, metrics.clone(), out.clone(), Memory::node));
}

/// Watches agents' pods in the namespace of their deployment, at first `home`. A new one replaces all pods.
pub async fn agents(
    client: Client,
    home: String,
    mut deployed: watch::Receiver<Deployed>,
    metrics: Arc<ControllerMetrics>,
    out: Sender<MemoryChange>,
) {
    let core = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
    let config = watcher::Config::default().page_size(PAGE).labels(AGENT_SELECTOR);
    let mut place = place_of_agents(&home, &deployed.borrow_and_update());
    loop {
        let pods = Api::namespaced_with(client.clone(), &place, &core);
        let moved = async {
            loop {
                if deployed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                let now = place_of_agents(&home, &deployed.borrow_and_update());
                if now != place {
                    return now;
                }
            }
        };
        tokio::select! {
            () = follow("agents", pods, config.clone(), metrics.clone(), out.clone(), Memory::agent) => return,
            now = moved => place = now,
        }
    }
}

fn place_of_agents(home: &str, deployed: &Deployed) -> String {
    deployed.agents.clone().unwrap_or_else(|| home.to_owned())
}

async fn follow<Spec, Status>(
    name: &'static str,
    api: Api<Wire<Spec, Status>>,
    config: watcher::Config,
    metrics: Arc<ControllerMetrics>,
    out: Sender<MemoryChange>,
    take: impl Fn(&mut Memory, Event<Wire<Spec, Status>>) + Copy + Send + 'static,
) where
    Spec: Clone + Debug + DeserializeOwned + Send + 'static,
    Status: Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut events = pin!(events(name, api, config, Waits::CONTROLLER));
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if matches!(event, Event::Init) {
                    metrics.lists.add(name, 1);
                } else {
                    metrics.troubles.over(&name);
                }
                if out.send(Box::new(move |memory| take(memory, event))).await.is_err() {
                    return;
                }
            }
            Err(failed) => {
                metrics.watch_failures.add(name, 1);
                metrics.troubles.note(name, why(&failed.error));
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use axum::http::{Request, Response};
    use kube::client::Body;
    use tokio::sync::mpsc;

    use super::*;

    async fn listed(asked: &mut mpsc::UnboundedReceiver<String>) -> String {
        loop {
            let path = asked.recv().await.unwrap();
            if let Some(namespace) = path.strip_suffix("/pods") {
                return namespace.rsplit('/').next().unwrap().to_owned();
            }
        }
    }

    #[tokio::test]
    async fn agents_are_looked_for_where_they_are_deployed() {
        let (ask, mut asked) = mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: Request<Body>| {
            _ = ask.send(request.uri().path().to_owned());
            let list = r#"{"metadata":{"resourceVersion":"1"},"items":[]}"#;
            async move { Ok::<_, std::io::Error>(Response::new(Body::from(list.as_bytes().to_vec()))) }
        });
        let (tell, deployed) = watch::channel(Deployed::default());
        let (out, mut seen) = mpsc::channel(64);
        let client = Client::new(service, "default");
        let following = tokio::spawn(agents(client, "home".into(), deployed, Arc::default(), out));
        let drain = tokio::spawn(async move { while seen.recv().await.is_some() {} });
        assert_eq!(listed(&mut asked).await, "home");
        tell.send_replace(Deployed { taints: None, agents: Some("elsewhere".into()), ..Deployed::default() });
        while listed(&mut asked).await != "elsewhere" {}
        following.abort();
        drain.abort();
    }
}
