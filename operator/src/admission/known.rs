//! Attachments of all applications, updated by watches.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};

use bpfman_application::spec::ApplicationSpec;

use super::order::{ApplicationName, PacketSlot, slots};
use crate::rollout::revision::REHEARSAL;
use bpfman_application::scope::Scope;
use bpfman_runtime::listing::{Listing, ListingChange};
use bpfman_runtime::watch::{Waits, events};

const PAGE: u32 = 500;

/// Known attachments by application.
#[derive(Debug, Default)]
pub struct KnownSlots(Mutex<Listing<ApplicationName, Vec<PacketSlot>, 2>>);

impl KnownSlots {
    /// Starts watches of both scopes.
    #[must_use]
    pub fn follow(client: &Client) -> Arc<Self> {
        let known = Arc::new(Self::default());
        for (kind, scope) in Scope::ALL.into_iter().enumerate() {
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &scope.applications());
            let known = known.clone();
            tokio::spawn(async move {
                let config = watcher::Config::default().page_size(PAGE);
                let mut events = pin!(events("applications", api, config, Waits::CONTROLLER));
                while let Some(event) = events.next().await {
                    if let Ok(event) = event {
                        known.see(kind, event);
                    }
                }
            });
        }
        known
    }

    fn see(&self, kind: usize, event: Event<DynamicObject>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let ListingChange::Present(object) = known.take(kind, event, |object| Some(name(&object))) {
            let name = name(&object);
            // Ignore objects that are being deleted, belong to a dry run, or have an unreadable spec.
            let runs = !object.metadata.labels.iter().flatten().any(|(name, _)| name == REHEARSAL);
            let own = match object.metadata.deletion_timestamp {
                None if runs => {
                    ApplicationSpec::read(name.namespace.as_deref(), object.data["spec"].clone()).ok()
                }
                _ => None,
            };
            known.put(kind, name.clone(), own.map(|spec| slots(&name, &spec)).unwrap_or_default());
        }
    }

    /// Returns the attachments of all applications but one, or `None` while they are still being listed.
    #[must_use]
    pub fn others(&self, but: &ApplicationName) -> Option<Vec<PacketSlot>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let others = known.iter().filter(|(name, _)| *name != but);
        known.complete().then(|| others.flat_map(|(_, slots)| slots.iter().cloned()).collect())
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
    fn conflicts_need_a_complete_list_and_forget_deleted_ones() {
        let known = KnownSlots::default();
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
