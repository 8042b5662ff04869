use bpfman_application::packets::{self, PacketLink};
use bpfman_application::place::OnUnavailable;
use bpfman_application::pods::PodSelector;
use bpfman_application::spec::ApplicationSpec;
use bpfman_cni::protocol::VERSION;
use bpfman_cni::rules::{PodRule, Rules};

use crate::agent::objects::selector;
use crate::agent::shared::Shared;

pub fn in_pods(spec: &ApplicationSpec) -> impl Iterator<Item = (PacketLink<'_>, PodSelector<'_>)> {
    packets::links(spec).into_iter().filter_map(|mut link| {
        let pods = link.pods.take()?;
        Some((link, pods))
    })
}

/// Returns the plugin's rules; `None` before all applications are known.
#[must_use]
pub fn rules(shared: &Shared) -> Option<Rules> {
    let known = shared.cache.known();
    if !known.complete() {
        return None;
    }
    let labels = known.node.get(&()).map(|node| node.labels.clone()).unwrap_or_default();
    let mut rules = Vec::new();
    for application in known.applications.values().filter(|one| !one.deleted) {
        let Ok(spec) = &application.spec else { continue };
        if !selector::matches(&spec.common.node_selector, &labels).unwrap_or(false) {
            continue;
        }
        for (link, pods) in in_pods(spec) {
            let on_unavailable = match link.on_unavailable {
                OnUnavailable::Open => continue,
                OnUnavailable::Closed => "closed",
                OnUnavailable::LastKnown => "lastKnown",
            };
            let by_labels = pods.labels.match_labels.iter().flatten().next().is_some()
                || pods.labels.match_expressions.iter().flatten().next().is_some();
            rules.push(PodRule {
                application: application.key.to_string(),
                program: link.program.to_owned(),
                on_unavailable: on_unavailable.to_owned(),
                namespace: pods.namespace.map(str::to_owned),
                by_labels,
            });
        }
    }
    rules.sort();
    rules.dedup();
    Some(Rules { version: VERSION, agent_namespace: shared.namespace.clone(), rules })
}
