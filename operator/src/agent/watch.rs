//! One watch of the API server, kept up: a watch that ends or is too old begins again with a list.

use std::fmt::Debug;
use std::pin::pin;

use futures::StreamExt as _;
use kube::runtime::watcher::{self, Config, Event};
use kube::runtime::{WatchStreamExt as _, watcher as start};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::backoff::{WatchBackoff, random};

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
    Config::default().any_semantic().timeout(seconds as u32)
}

/// Watches for ever.
pub async fn watch<K, L>(api: Api<K>, config: Config, listener: L)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    L: Listener<Object = K>,
{
    let mut events = pin!(start(api, config).backoff(WatchBackoff::default()));
    let mut list = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => list = Vec::new(),
            Ok(Event::InitApply(object)) => list.extend(listener.read(object)),
            Ok(Event::InitDone) => listener.listed(std::mem::take(&mut list)),
            Ok(Event::Apply(object)) => listener.applied(object),
            Ok(Event::Delete(object)) => listener.deleted(object),
            Err(error) => listener.failed(&error),
        }
    }
}
