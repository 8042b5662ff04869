//! Which attachments to pods have to be there, and what of that the CNI plugin is told for when no agent answers.

use bpfman_application::packets;
use bpfman_application::place::OnUnavailable;
use bpfman_application::pods::PodSelector;
use bpfman_application::spec::Spec;
use bpfman_cni::protocol::VERSION;
use bpfman_cni::rules::{Rule, Rules};

use crate::agent::objects::selector;
use crate::agent::shared::Shared;

/// What an attachment in pods' networks says of pods that start without it.
#[derive(Clone, Debug, PartialEq)]
pub struct Word<'a> {
    /// The program.
    pub program: &'a str,
    /// The word.
    pub on_unavailable: OnUnavailable,
    /// The pods.
    pub pods: PodSelector<'a>,
}

/// The words of a spec. `own`: namespace of a namespaced application.
#[must_use]
pub fn of<'a>(spec: &'a Spec, own: Option<&'a str>) -> Vec<Word<'a>> {
    // Without pods it is about the node's own interfaces.
    let links = packets::links(spec, own).into_iter();
    links
        .filter_map(|link| {
            let (program, on_unavailable) = (link.program, link.on_unavailable);
            link.pods.map(|pods| Word { program, on_unavailable, pods })
        })
        .collect()
}

/// The rules that follow for this node. `None` before all applications are known.
#[must_use]
pub fn rules(shared: &Shared) -> Option<Rules> {
    let known = shared.cache.known();
    if !known.complete() {
        return None;
    }
    let labels = known.node.as_ref().map(|node| node.labels.clone()).unwrap_or_default();
    let mut rules = Vec::new();
    for application in known.applications.values().filter(|one| !one.deleted) {
        let Ok(spec) = &application.spec else { continue };
        if !selector::matches(&spec.common().node_selector, &labels).unwrap_or(false) {
            continue;
        }
        for word in of(spec, application.key.namespace.as_deref()) {
            let on_unavailable = match word.on_unavailable {
                OnUnavailable::Open => continue,
                OnUnavailable::Closed => "closed",
                OnUnavailable::LastKnown => "lastKnown",
            };
            let by_labels = word.pods.labels.match_labels.iter().flatten().next().is_some()
                || word.pods.labels.match_expressions.iter().flatten().next().is_some();
            rules.push(Rule {
                application: application.key.to_string(),
                program: word.program.to_owned(),
                on_unavailable: on_unavailable.to_owned(),
                namespace: word.pods.namespace.map(str::to_owned),
                by_labels,
            });
        }
    }
    rules.sort();
    rules.dedup();
    Some(Rules { version: VERSION, agent_namespace: shared.namespace.clone(), rules })
}
