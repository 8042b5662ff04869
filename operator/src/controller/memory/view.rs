//! What is known of one application.

use std::collections::HashMap;

use super::Memory;
use crate::controller::projection::text::SharedText;
use crate::controller::projection::{ClusterNode, NodeAnswer, TrackedApplication};

/// One application with all that is known of it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The application.
    pub application: &'a TrackedApplication,
    memory: &'a Memory,
}

impl<'a> View<'a> {
    pub(super) const fn new(application: &'a TrackedApplication, memory: &'a Memory) -> Self {
        Self { application, memory }
    }

    /// What nodes answered; one state object each.
    pub fn answers(&self) -> impl Iterator<Item = &'a NodeAnswer> + use<'a> {
        let id = &self.application.id;
        let from = self.memory.answers.from((id.clone(), SharedText::default())..);
        from.take_while(move |((of, _), _)| of == id).map(|(_, answer)| &**answer)
    }

    /// One answer a node: the one that its agent keeps.
    ///
    /// After a migration from the published operator a node may have two: one that the agent before made under another
    /// name, which nobody changes any more, and one of the agent that is there. An object that is going counts last; then
    /// the one that was written in the node's present boot, then one that says a kernel or a boot at all, which the
    /// published agent does not; what is left is decided by the name, so that it is the same each time.
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

    /// Nodes that the application selects, with their names.
    pub fn selected(&self) -> impl Iterator<Item = (&'a SharedText, &'a ClusterNode)> + use<'a> {
        let application = self.application;
        self.memory.nodes().filter(move |(_, node)| application.selects(node))
    }

    /// One node.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&'a ClusterNode> {
        self.memory.find_node(name)
    }

    /// Nodes whose agent is ready.
    pub fn agents(&self) -> impl Iterator<Item = &'a SharedText> + use<'a> {
        self.memory.agents()
    }
}
