//! One watch of the API server, kept up: a watch that ends or is too old begins again with a list.

pub mod daemon;
pub mod listeners;

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use kube::runtime::watcher::{self, Config, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use bpfman_runtime::backoff::random;
use bpfman_runtime::watch::{Waits, events};

/// Between the tries of a watch that fails.
const WAITS: Waits = Waits {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(30),
    jitter: true,
    list_again_after: None,
};

/// Who is told what a watch says.
pub trait Listener {
    /// What is watched.
    type Object;
    /// What is kept of an object.
    type Kept;

    /// Keeps of an object what is needed. `None`: nothing.
    fn read(&self, object: Self::Object) -> Option<Self::Kept>;
    /// The list is complete: whatever is not in it is gone.
    fn listed(&self, objects: Vec<Self::Kept>);
    /// An object is there, as it is now.
    fn applied(&self, object: Self::Object);
    /// An object is gone.
    fn deleted(&self, object: Self::Object);
    /// The watch failed, and is tried again.
    fn failed(&self, error: &watcher::Error);
}

/// How to ask. Lists come from the server's cache: a fleet that starts must not read its database a thousand times.
/// What is too old there shows when something is written, and is read again then.
#[must_use]
pub fn config() -> Config {
    // Watches of many agents, all begun when the server came up, must not all end together.
    let seconds = 240.0 + 50.0 * random();
    // In pages, a list comes from the database after all: the client then leaves the version out, and the server reads
    // every object of the kind to find those of one node.
    Config { page_size: None, ..Config::default().any_semantic().timeout(seconds as u32) }
}

/// Watches for ever.
pub async fn watch<K, L>(api: Api<K>, config: Config, listener: L)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    L: Listener<Object = K>,
{
    let mut events = pin!(events(api, config, WAITS));
    let mut list = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => list = Vec::new(),
            Ok(Event::InitApply(object)) => list.extend(listener.read(object)),
            Ok(Event::InitDone) => listener.listed(std::mem::take(&mut list)),
            Ok(Event::Apply(object)) => listener.applied(object),
            Ok(Event::Delete(object)) => listener.deleted(object),
            Err(failed) => listener.failed(&failed.error),
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

    /// Hears of nothing.
    struct Deaf;

    impl Listener for Deaf {
        type Object = DynamicObject;
        type Kept = ();

        fn read(&self, _: DynamicObject) -> Option<()> {
            None
        }
        fn listed(&self, _: Vec<()>) {}
        fn applied(&self, _: DynamicObject) {}
        fn deleted(&self, _: DynamicObject) {}
        fn failed(&self, _: &watcher::Error) {}
    }

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
        let watching = tokio::spawn(watch(api, config().fields("spec.nodeName=a"), Deaf));
        let query = asked.recv().await.unwrap();
        watching.abort();
        let pairs: HashMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        assert_eq!(pairs.get("resourceVersion"), Some(&"0"), "{query}");
        assert!(!pairs.contains_key("limit"), "{query}");
    }
}
