use std::collections::HashMap;

use super::Memory;
use crate::controller::projection::text::SharedText;
use crate::controller::projection::{ClusterNode, NodeAnswer, TrackedApplication};

/// Application with the nodes' answers about it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub application: &'a TrackedApplication,
    memory: &'a Memory,
}

impl<'a> View<'a> {
    pub(super) const fn new(application: &'a TrackedApplication, memory: &'a Memory) -> Self {
        Self { application, memory }
    }

    /// Returns all answers, one per state object.
    pub fn answers(&self) -> impl Iterator<Item = &'a NodeAnswer> + use<'a> {
        let id = &self.application.id;
        let from = self.memory.answers.from((id.clone(), SharedText::default())..);
        from.take_while(move |((of, _), _)| of == id).map(|(_, answer)| &**answer)
    }

    /// Returns one answer per node. After a migration, a node may have a second object of the published
    /// operator's agent. Criteria of the choice, the most important first: not being deleted, of the current
    /// boot, with kernel or boot id, first by name.
    #[must_use]
    pub fn answer_of_each(&self) -> HashMap<&'a str, &'a NodeAnswer> {
        let rank = |answer: &'a NodeAnswer| {
            let boot = self.node(&answer.node).map(|node| &*node.boot_id).filter(|boot| !boot.is_empty());
            let of_this = boot.is_some_and(|boot| {
                answer.boot_id.as_deref().is_some_and(|answered| answered.eq_ignore_ascii_case(boot))
            });
            let says = answer.kernel.is_some() || answer.boot_id.is_some();
            (answer.deleting, !of_this, !says, &answer.object)
        };
        let mut of_each: HashMap<&str, &NodeAnswer> = HashMap::new();
        for answer in self.answers() {
            let best = of_each.entry(&answer.node).or_insert(answer);
            if rank(answer) < rank(best) {
                *best = answer;
            }
        }
        of_each
    }

    /// Returns the nodes that the application selects, with their names.
    pub fn selected(&self) -> impl Iterator<Item = (&'a SharedText, &'a ClusterNode)> + use<'a> {
        let application = self.application;
        self.memory.nodes().filter(move |(_, node)| application.selects(node))
    }

    #[must_use]
    pub fn node(&self, name: &str) -> Option<&'a ClusterNode> {
        self.memory.find_node(name)
    }

    /// Returns the nodes with a ready agent.
    pub fn agents(&self) -> impl Iterator<Item = &'a SharedText> + use<'a> {
        self.memory.agents()
    }
}
