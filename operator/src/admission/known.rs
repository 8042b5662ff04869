//! The attachments of all applications, followed by watches.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use tracing::debug;

use super::application::read;
use super::order::{ApplicationName, Slot, slots};
use bpfman_application::scope::Scope;

/// Objects a page of a list.
const PAGE: u32 = 500;

/// What is known now.
#[derive(Debug, Default)]
pub struct Known(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    slots: HashMap<ApplicationName, Arc<[Slot]>>,
    /// Names seen in a list that is not complete yet.
    listed: [Option<HashSet<ApplicationName>>; 2],
    complete: [bool; 2],
}

impl Known {
    /// Begins to follow both kinds.
    #[must_use]
    pub fn follow(client: &Client) -> Arc<Self> {
        let known = Arc::new(Self::default());
        for (kind, scope) in Scope::ALL.into_iter().enumerate() {
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &scope.applications());
            let known = known.clone();
            tokio::spawn(async move {
                let config = watcher::Config::default().page_size(PAGE);
                let mut events = watcher::watcher(api, config).default_backoff().boxed();
                while let Some(event) = events.next().await {
                    match event {
                        Ok(event) => known.see(kind, event),
                        Err(error) => debug!(%error, "a watch of applications ended"),
                    }
                }
            });
        }
        known
    }

    fn see(&self, kind: usize, event: Event<DynamicObject>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => inner.listed[kind] = Some(HashSet::new()),
            Event::InitApply(object) => {
                let name = inner.put(&object);
                if let Some(listed) = &mut inner.listed[kind] {
                    listed.insert(name);
                }
            }
            Event::InitDone => {
                if let Some(listed) = inner.listed[kind].take() {
                    let namespaced = kind == 1;
                    inner
                        .slots
                        .retain(|name, _| name.namespace.is_some() != namespaced || listed.contains(name));
                }
                inner.complete[kind] = true;
            }
            Event::Apply(object) => {
                inner.put(&object);
            }
            Event::Delete(object) => {
                inner.slots.remove(&name(&object));
            }
        }
    }

    /// The attachments of all applications but one. None while they are still being listed.
    #[must_use]
    pub fn others(&self, but: &ApplicationName) -> Option<Vec<Slot>> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.complete != [true; 2] {
            return None;
        }
        let others = inner.slots.iter().filter(|(name, _)| *name != but);
        Some(others.flat_map(|(_, slots)| slots.iter().cloned()).collect())
    }
}

impl Inner {
    fn put(&mut self, object: &DynamicObject) -> ApplicationName {
        let name = name(object);
        // One that cannot be read attaches nothing.
        let own = read(&name, &object.data["spec"]).map(|spec| slots(&name, &spec)).unwrap_or_default();
        // What is being deleted orders nothing any more.
        if own.is_empty() || object.metadata.deletion_timestamp.is_some() {
            self.slots.remove(&name);
        } else {
            self.slots.insert(name.clone(), own.into());
        }
        name
    }
}

fn name(object: &DynamicObject) -> ApplicationName {
    ApplicationName { namespace: object.namespace(), name: object.name_any() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;

    fn application(name: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": { "nodeSelector": {}, "byteCode": { "path": "/a.o" }, "programs": [{
                "name": "filter", "type": "XDP",
                "xdp": { "links": [{ "interfaceSelector": { "interfaces": ["eth0"] } }] },
            }] },
        }))
        .unwrap()
    }

    #[test]
    fn nothing_is_said_of_others_before_all_are_listed_and_one_that_is_gone_is_forgotten() {
        let known = Known::default();
        let nobody = ApplicationName { namespace: None, name: "nobody".into() };
        known.see(0, Event::Init);
        known.see(0, Event::InitApply(application("a")));
        known.see(0, Event::InitApply(application("b")));
        known.see(0, Event::InitDone);
        assert!(known.others(&nobody).is_none());
        known.see(1, Event::Init);
        known.see(1, Event::InitDone);
        assert_eq!(known.others(&nobody).unwrap().len(), 2);

        known.see(0, Event::Init);
        known.see(0, Event::InitApply(application("b")));
        known.see(0, Event::InitDone);
        assert_eq!(known.others(&nobody).unwrap().len(), 1);
        let b = ApplicationName { namespace: None, name: "b".into() };
        assert!(known.others(&b).unwrap().is_empty());
    }
}
