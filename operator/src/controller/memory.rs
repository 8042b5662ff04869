//! The cluster as the controller knows it, and what each event changes of it.
//!
//! One owner, no locks. An event touches only the objects it is about and names the applications concerned; what those
//! come to is worked out later, once for many events ([`super::summarize`]).

mod view;

use std::collections::{BTreeSet, HashMap};

use bpfman_runtime::object::is_older;
use kube::runtime::watcher::Event;

pub use view::View;

use super::projection::{Answer, Application, ApplicationId, Node};
use super::text::{Interner, Text};
use super::wire::{WireApplication, WireNode, WirePod, WireState, is_true};
use bpfman_application::scope::Scope;

/// Everything that is kept.
#[derive(Debug, Default)]
pub struct Memory {
    interner: Interner,
    applications: HashMap<ApplicationId, Kept<Application>>,
    /// By the application that owns them. They may come before it and stay after it.
    answers: HashMap<ApplicationId, Answers>,
    nodes: HashMap<Text, Kept<Node>>,
    /// Pods of agents by name: their nodes, and whether they are ready.
    agents: HashMap<Text, Kept<(Text, bool)>>,
    rounds: Rounds,
    changed: Changed,
}

/// What applications have on nodes, by the name of the state object.
#[derive(Debug)]
struct Answers {
    scope: Scope,
    namespace: Option<String>,
    by_object: HashMap<Text, Kept<Answer>>,
}

/// An object with the list in which it was seen last: what a new list does not have, is gone.
#[derive(Debug)]
struct Kept<T> {
    value: T,
    round: u32,
}

/// Number of the newest list of each kind, and whether one was ever complete.
#[derive(Debug, Default)]
struct Rounds {
    applications: [(u32, bool); 2],
    answers: [(u32, bool); 2],
    nodes: (u32, bool),
    agents: (u32, bool),
}

/// What has to be looked at again.
#[derive(Debug, Default)]
pub struct Changed {
    /// Applications whose status may be another now.
    pub applications: BTreeSet<ApplicationId>,
    /// Nodes that are gone, or have an answer although they are not known.
    pub lost_nodes: BTreeSet<Text>,
    /// Whether what decides about taints changed.
    pub taints: bool,
}

impl Memory {
    /// Takes in an event about an application.
    pub fn application(&mut self, scope: Scope, event: Event<WireApplication>) {
        let (round, complete) = &mut self.rounds.applications[scope as usize];
        match event {
            Event::Init => *round += 1,
            Event::InitDone => {
                *complete = true;
                let round = *round;
                let gone = |kept: &Kept<Application>| kept.value.scope == scope && kept.round != round;
                let gone: Vec<ApplicationId> = self
                    .applications
                    .iter()
                    .filter(|(_, kept)| gone(kept))
                    .map(|(id, _)| id.clone())
                    .collect();
                gone.iter().for_each(|id| self.forget(id));
            }
            Event::Apply(wire) | Event::InitApply(wire) => {
                let round = *round;
                let Some(application) = Application::new(scope, wire) else { return };
                self.keep(application, round);
            }
            Event::Delete(wire) => {
                if let Some(uid) = wire.metadata.uid {
                    self.forget(&ApplicationId(uid.into()));
                }
            }
        }
    }

    /// Takes in an application as the API server returned it from a write.
    pub fn written(&mut self, application: Application) {
        let round = self.rounds.applications[application.scope as usize].0;
        if self.applications.contains_key(&application.id) {
            self.keep(application, round);
        }
    }

    /// Keeps an application, unless a newer version of it is known already: a watch may lag behind our own writes.
    fn keep(&mut self, application: Application, round: u32) {
        if let Some(kept) = self.applications.get_mut(&application.id) {
            kept.round = round;
            if kept.value == application
                || is_older(&application.resource_version, &kept.value.resource_version)
            {
                return;
            }
        }
        self.changed.applications.insert(application.id.clone());
        self.changed.taints = true;
        self.applications.insert(application.id.clone(), Kept { value: application, round });
    }

    fn forget(&mut self, id: &ApplicationId) {
        self.applications.remove(id);
        self.changed.applications.insert(id.clone());
        self.changed.taints = true;
    }

    /// Takes in an event about a state object. One that no application owns is not ours.
    pub fn answer(&mut self, scope: Scope, event: Event<WireState>) {
        let (round, complete) = &mut self.rounds.answers[scope as usize];
        match event {
            Event::Init => *round += 1,
            Event::InitDone => {
                *complete = true;
                let round = *round;
                for (id, answers) in self.answers.iter_mut().filter(|(_, answers)| answers.scope == scope) {
                    let before = answers.by_object.len();
                    answers.by_object.retain(|_, kept| kept.round == round);
                    if answers.by_object.len() != before {
                        self.changed.applications.insert(id.clone());
                    }
                }
                self.answers.retain(|_, answers| !answers.by_object.is_empty());
            }
            Event::Apply(wire) | Event::InitApply(wire) => {
                let (round, Some(id)) = (*round, owner(&wire)) else { return };
                let answer = Answer::new(&wire, &mut self.interner);
                if self.rounds.nodes.1 && !self.nodes.contains_key(&answer.node) {
                    self.changed.lost_nodes.insert(answer.node.clone());
                }
                let answers = self.answers.entry(id.clone()).or_insert_with(|| Answers {
                    scope,
                    namespace: wire.metadata.namespace,
                    by_object: HashMap::new(),
                });
                if let Some(kept) = answers.by_object.get_mut(&answer.object) {
                    kept.round = round;
                    if kept.value.same(&answer) {
                        kept.value.version = answer.version;
                        return;
                    }
                }
                answers.by_object.insert(answer.object.clone(), Kept { value: answer, round });
                self.changed.applications.insert(id);
                self.changed.taints = true;
            }
            Event::Delete(wire) => {
                let (Some(id), Some(name)) = (owner(&wire), wire.metadata.name.as_deref()) else { return };
                let Some(answers) = self.answers.get_mut(&id) else { return };
                answers.by_object.remove(name);
                if answers.by_object.is_empty() {
                    self.answers.remove(&id);
                }
                self.changed.applications.insert(id);
            }
        }
    }

    /// Takes in an event about a node. A heartbeat changes nothing that is kept, and costs nothing more.
    pub fn node(&mut self, event: Event<WireNode>) {
        match event {
            Event::Init => self.rounds.nodes.0 += 1,
            Event::InitDone => {
                self.rounds.nodes.1 = true;
                let round = self.rounds.nodes.0;
                let gone =
                    self.nodes.iter().filter(|(_, kept)| kept.round != round).map(|(name, _)| name.clone());
                gone.collect::<Vec<_>>().iter().for_each(|name| self.lose(name));
                self.seek_lost();
            }
            Event::Apply(wire) | Event::InitApply(wire) => {
                let Some(name) = wire.metadata.name.as_deref() else { return };
                let (name, round) = (self.interner.intern(name), self.rounds.nodes.0);
                let node = Node::new(&wire, &mut self.interner);
                let before = self.nodes.get_mut(&name).map(|kept| {
                    kept.round = round;
                    &kept.value
                });
                if before == Some(&node) {
                    return;
                }
                let selection = |application: &Application, node: &Node| {
                    application
                        .selector
                        .as_ref()
                        .is_ok_and(|selector| selector.matches(|key| node.label(key)))
                };
                for (id, kept) in &self.applications {
                    let was = before.is_some_and(|before| selection(&kept.value, before));
                    if was != selection(&kept.value, &node) {
                        self.changed.applications.insert(id.clone());
                    }
                }
                self.changed.taints = true;
                self.nodes.insert(name, Kept { value: node, round });
            }
            Event::Delete(wire) => {
                if let Some(name) = wire.metadata.name.as_deref() {
                    let name = self.interner.intern(name);
                    self.lose(&name);
                }
            }
        }
    }

    fn lose(&mut self, name: &Text) {
        if let Some(kept) = self.nodes.remove(name) {
            self.changed.lost_nodes.insert(name.clone());
            for (id, application) in &self.applications {
                let selector = application.value.selector.as_ref();
                if selector.is_ok_and(|selector| selector.matches(|key| kept.value.label(key))) {
                    self.changed.applications.insert(id.clone());
                }
            }
        }
    }

    /// After a complete list of nodes: answers of nodes that are not on it.
    fn seek_lost(&mut self) {
        let answers = self.answers.values().flat_map(|answers| answers.by_object.values());
        let lost = answers.map(|kept| &kept.value.node).filter(|node| !self.nodes.contains_key(*node));
        self.changed.lost_nodes.extend(lost.cloned());
    }

    /// Takes in an event about a pod of an agent.
    pub fn agent(&mut self, event: Event<WirePod>) {
        match event {
            Event::Init => self.rounds.agents.0 += 1,
            Event::InitDone => {
                self.rounds.agents.1 = true;
                let round = self.rounds.agents.0;
                let before = self.agents.len();
                self.agents.retain(|_, kept| kept.round == round);
                if self.agents.len() != before {
                    self.agents_changed();
                }
            }
            Event::Apply(wire) | Event::InitApply(wire) => {
                let Some(name) = wire.metadata.name.as_deref() else { return };
                let (name, round) = (Text::from(name), self.rounds.agents.0);
                let node = self.interner.intern(wire.spec.as_ref().map_or("", |spec| &spec.node_name));
                let ready = wire.metadata.deletion_timestamp.is_none()
                    && wire.status.is_some_and(|status| is_true(&status.conditions, "Ready"));
                let value = (node, ready);
                let before = self.agents.insert(name, Kept { value: value.clone(), round });
                if before.is_none_or(|before| before.value != value) {
                    self.agents_changed();
                }
            }
            Event::Delete(wire) => {
                if wire.metadata.name.is_some_and(|name| self.agents.remove(name.as_str()).is_some()) {
                    self.agents_changed();
                }
            }
        }
    }

    /// Which applications an agent matters to is not worth finding out: pods of agents change seldom, and what an
    /// application comes to is worked out at most once a second.
    fn agents_changed(&mut self) {
        self.changed.applications.extend(self.applications.keys().cloned());
        self.changed.taints = true;
    }

    /// Whether every kind was listed once, so that what is missing is known to be missing.
    #[must_use]
    pub fn complete(&self) -> bool {
        let Rounds { applications, answers, nodes, agents } = &self.rounds;
        applications.iter().chain(answers).chain([nodes, agents]).all(|(_, complete)| *complete)
    }

    /// What changed since this was last asked.
    pub fn changed(&mut self) -> Changed {
        std::mem::take(&mut self.changed)
    }

    /// An application, if there is one.
    #[must_use]
    pub fn view(&self, id: &ApplicationId) -> Option<View<'_>> {
        Some(View::new(&self.applications.get(id)?.value, self))
    }

    /// All applications.
    pub fn applications(&self) -> impl Iterator<Item = View<'_>> {
        self.applications.values().map(|kept| View::new(&kept.value, self))
    }

    /// All nodes with their names.
    pub fn nodes(&self) -> impl Iterator<Item = (&Text, &Node)> {
        self.nodes.iter().map(|(name, kept)| (name, &kept.value))
    }

    /// One node.
    #[must_use]
    pub fn find_node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name).map(|kept| &kept.value)
    }

    /// Nodes whose agent is ready.
    pub fn agents(&self) -> impl Iterator<Item = &Text> {
        self.agents.values().filter(|kept| kept.value.1).map(|kept| &kept.value.0)
    }

    /// State objects of a node that is gone, with the kind and the namespace to find them by.
    #[must_use]
    pub fn answers_of_node(&self, node: &str) -> Vec<(Scope, Option<String>, Text)> {
        let mut found = Vec::new();
        for answers in self.answers.values() {
            for (object, kept) in &answers.by_object {
                if &*kept.value.node == node {
                    found.push((answers.scope, answers.namespace.clone(), object.clone()));
                }
            }
        }
        found
    }

    /// How many state objects, nodes and different texts are kept.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        let answers = self.answers.values().map(|answers| answers.by_object.len()).sum();
        (answers, self.nodes.len(), self.interner.len())
    }
}

/// The uid of the application that a state object belongs to.
fn owner(wire: &WireState) -> Option<ApplicationId> {
    let owners = wire.metadata.owner_references.iter().flatten();
    let ours = |kind: &str| Scope::ALL.into_iter().any(|scope| kind == scope.application_kind());
    let mut ours = owners.filter(|owner| ours(&owner.kind));
    ours.next().map(|owner| ApplicationId(owner.uid.as_str().into()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
