//! Watch of one kind: when it ends or its version is too old, it restarts with a list.

pub mod daemon;
pub mod journal;
pub mod listeners;

use std::fmt::Debug;
use std::pin::pin;

use futures::StreamExt as _;
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::agent::memory::cache::WatchSource;
use crate::agent::shared::Shared;
use bpfman_runtime::backoff::random;
use bpfman_runtime::watch::{Waits, events};

/// Returns the configuration: lists come from the server's cache, so that a starting fleet spares the database.
#[must_use]
pub fn config() -> Config {
    // Spread the ends of watches that many agents started when the server came up.
    let seconds = 240.0 + 50.0 * random();
    // A paged list would come from the database: the client omits the version, and the server reads all objects.
    Config { page_size: None, ..Config::default().any_semantic().timeout(seconds as u32) }
}

/// Watches forever, and passes each event to `listen_to`.
pub async fn watch<K>(
    agent: &Shared,
    source: WatchSource,
    api: Api<K>,
    config: Config,
    listen_to: impl Fn(&Shared, Event<K>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = pin!(events(source, api, config, Waits::AGENT));
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                let listed = matches!(event, Event::InitDone);
                listen_to(agent, event);
                if listed {
                    agent.listed(source);
                }
            }
            Err(failed) => agent.watch_failed(source, &failed.error),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::HashMap;

    use hyper::{Request, Response};
    use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
    use kube::client::{Body, Client};
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn lists_come_from_the_cache_of_the_server_whole() {
        let (ask, mut asked) = mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: Request<Body>| {
            _ = ask.send(request.uri().query().unwrap_or_default().to_owned());
            let list = r#"{"metadata":{"resourceVersion":"1"},"items":[]}"#;
            async move { Ok::<_, std::io::Error>(Response::new(Body::from(list.as_bytes().to_vec()))) }
        });
        let pods = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
        let api = Api::<DynamicObject>::all_with(Client::new(service, "default"), &pods);
        let watching = tokio::spawn(async move {
            let mut events = pin!(events("pods", api, config().fields("spec.nodeName=a"), Waits::AGENT));
            while events.next().await.is_some() {}
        });
        let query = asked.recv().await.unwrap();
        watching.abort();
        let pairs: HashMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        assert_eq!(pairs.get("resourceVersion"), Some(&"0"), "{query}");
        assert!(!pairs.contains_key("limit"), "{query}");
    }
}
