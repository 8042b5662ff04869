//! The controller's view of the cluster, with one owner and no locks. An event updates its object and marks affected
//! applications; `decide` computes their status once for many events.

mod view;

use std::collections::BTreeSet;

use bpfman_runtime::listing::{Listing, ListingChange};
use bpfman_runtime::object::is_older;
use bpfman_runtime::wire::{WireNode, WirePod, is_true};
use kube::runtime::watcher::Event;

pub use view::View;

use crate::controller::projection::text::{Interner, SharedText};
use crate::controller::projection::wire::{WireApplication, WireState};
use crate::controller::projection::{ApplicationId, ClusterNode, NodeAnswer, TrackedApplication};
use bpfman_application::scope::Scope;

/// All objects that the controller keeps.
#[derive(Debug, Default)]
pub struct Memory {
    interner: Interner,
    applications: Listing<ApplicationId, TrackedApplication, 2>,
    /// Keyed by application, which may arrive later, and state object. Boxed: a B-tree allocates spare entries.
    answers: Listing<(ApplicationId, SharedText), Box<NodeAnswer>, 2>,
    nodes: Listing<SharedText, ClusterNode>,
    agents: Listing<SharedText, (SharedText, bool)>,
    changed: ChangedObjects,
}

/// Objects that have to be reconciled again.
#[derive(Debug, Default)]
pub struct ChangedObjects {
    /// Applications with a possibly changed status.
    pub applications: BTreeSet<ApplicationId>,
    /// Nodes that were deleted, or that have an answer without being known.
    pub lost_nodes: BTreeSet<SharedText>,
    /// True if an input of the taint decisions changed.
    pub taints: bool,
}

impl Memory {
    pub fn application(&mut self, scope: Scope, event: Event<WireApplication>) {
        let id = |wire: WireApplication| Some(ApplicationId(wire.metadata.uid?.into()));
        match self.applications.take(scope as usize, event, id) {
            ListingChange::Present(wire) => {
                TrackedApplication::new(scope, wire).into_iter().for_each(|one| self.keep(one))
            }
            ListingChange::Gone(gone) => {
                self.changed.taints |= !gone.is_empty();
                self.changed.applications.extend(gone.into_iter().map(|(id, _)| id));
            }
        }
    }

    /// Stores an application as returned by a write.
    pub fn written(&mut self, application: TrackedApplication) {
        if self.applications.get(&application.id).is_some() {
            self.keep(application);
        }
    }

    /// Keeps an application, unless the watch lags behind the controller's own writes.
    fn keep(&mut self, application: TrackedApplication) {
        if let Some(kept) = self.applications.seen(&application.id)
            && (*kept == application || is_older(&application.resource_version, &kept.resource_version))
        {
            return;
        }
        self.changed.applications.insert(application.id.clone());
        self.changed.taints = true;
        self.applications.put(application.scope as usize, application.id.clone(), application);
    }

    /// Applies an event of a state object. Objects without an owning application are ignored.
    pub fn answer(&mut self, scope: Scope, event: Event<WireState>) {
        let key = |wire: WireState| Some((owner(&wire)?, wire.metadata.name?.into()));
        match self.answers.take(scope as usize, event, key) {
            ListingChange::Present(wire) => {
                let Some(id) = owner(&wire) else { return };
                let answer = NodeAnswer::new(&wire, &mut self.interner);
                if self.nodes.complete() && self.nodes.get(&answer.node).is_none() {
                    self.changed.lost_nodes.insert(answer.node.clone());
                }
                let key = (ApplicationId(self.interner.intern(&id.0)), answer.object.clone());
                if let Some(kept) = self.answers.seen(&key)
                    && kept.same(&answer)
                {
                    kept.version = answer.version;
                    return;
                }
                self.changed.applications.insert(key.0.clone());
                self.changed.taints = true;
                self.answers.put(scope as usize, key, Box::new(answer));
            }
            ListingChange::Gone(gone) => {
                self.changed.applications.extend(gone.into_iter().map(|((id, _), _)| id))
            }
        }
    }

    /// Applies an event of a node. A heartbeat changes no stored field and causes no further work.
    pub fn node(&mut self, event: Event<WireNode>) {
        let listed = matches!(event, Event::InitDone);
        match self.nodes.take(0, event, |wire| wire.metadata.name.map(SharedText::from)) {
            ListingChange::Present(wire) => {
                let Some(name) = wire.metadata.name.as_deref() else { return };
                let node = ClusterNode::new(&wire, &mut self.interner);
                let before = self.nodes.seen(name).map(|before| &*before);
                if before == Some(&node) {
                    return;
                }
                for (id, application) in self.applications.iter() {
                    if before.is_some_and(|before| application.selects(before)) != application.selects(&node)
                    {
                        self.changed.applications.insert(id.clone());
                    }
                }
                self.changed.taints = true;
                self.nodes.put(0, self.interner.intern(name), node);
            }
            ListingChange::Gone(gone) => {
                for (name, node) in gone {
                    let selecting = self.applications.iter().filter(|(_, one)| one.selects(&node));
                    self.changed.applications.extend(selecting.map(|(id, _)| id.clone()));
                    self.changed.lost_nodes.insert(name);
                }
            }
        }
        if listed {
            let lost = self.answers.values().map(|answer| &answer.node);
            let lost = lost.filter(|node| self.nodes.get(*node).is_none());
            self.changed.lost_nodes.extend(lost.cloned());
        }
    }

    pub fn agent(&mut self, event: Event<WirePod>) {
        let changed = match self.agents.take(0, event, |wire| wire.metadata.name.map(SharedText::from)) {
            ListingChange::Present(wire) => {
                let Some(name) = wire.metadata.name.as_deref() else { return };
                let node = self.interner.intern(wire.spec.as_ref().map_or("", |spec| &spec.node_name));
                let ready = wire.metadata.deletion_timestamp.is_none()
                    && wire.status.is_some_and(|status| is_true(&status.conditions, "Ready"));
                let agent = (node, ready);
                self.agents.put(0, name.into(), agent.clone()).is_none_or(|before| before != agent)
            }
            ListingChange::Gone(gone) => !gone.is_empty(),
        };
        if changed {
            // Mark all: agent pods change rarely, and an application is summarized at most once a second.
            self.changed.applications.extend(self.applications.iter().map(|(id, _)| id.clone()));
            self.changed.taints = true;
        }
    }

    /// Returns whether every kind was listed once, so that a missing object is known not to exist.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.applications.complete()
            && self.answers.complete()
            && self.nodes.complete()
            && self.agents.complete()
    }

    /// Returns the changes since the last call.
    pub fn changed(&mut self) -> ChangedObjects {
        std::mem::take(&mut self.changed)
    }

    /// Returns an application, if it exists.
    #[must_use]
    pub fn view(&self, id: &ApplicationId) -> Option<View<'_>> {
        Some(View::new(self.applications.get(id)?, self))
    }

    pub fn applications(&self) -> impl Iterator<Item = View<'_>> {
        self.applications.values().map(|application| View::new(application, self))
    }

    /// Returns all nodes with their names.
    pub fn nodes(&self) -> impl Iterator<Item = (&SharedText, &ClusterNode)> {
        self.nodes.iter()
    }

    #[must_use]
    pub fn find_node(&self, name: &str) -> Option<&ClusterNode> {
        self.nodes.get(name)
    }

    /// Returns the nodes with a ready agent.
    pub fn agents(&self) -> impl Iterator<Item = &SharedText> {
        self.agents.values().filter(|(_, ready)| *ready).map(|(node, _)| node)
    }

    /// Returns the state objects of a deleted node, each with its scope, namespace and name.
    #[must_use]
    pub fn answers_of_node(&self, node: &str) -> Vec<(Scope, Option<SharedText>, SharedText)> {
        let of_it = self.answers.values().filter(|answer| &*answer.node == node);
        of_it.map(|answer| (answer.scope(), answer.namespace.clone(), answer.object.clone())).collect()
    }

    /// Returns the number of state objects, nodes and distinct texts.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.answers.len(), self.nodes.len(), self.interner.len())
    }
}

fn owner(wire: &WireState) -> Option<ApplicationId> {
    let owners = wire.metadata.owner_references.iter().flatten();
    let ours = |kind: &str| Scope::ALL.into_iter().any(|scope| kind == scope.application_kind());
    let mut ours = owners.filter(|owner| ours(&owner.kind));
    ours.next().map(|owner| ApplicationId(owner.uid.as_str().into()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(in crate::controller) mod tests;
