//! Preflight: one node of each group, by kernel and chain composition, loads the revision and discards it.

use std::collections::BTreeMap;

use bpfman_application::rollout::{PreflightGroup, PreflightVerdict, RolloutStatus};

use super::node_order;
use super::observation::{Observation, RolloutNode};
use super::revision;

pub const LIMIT: usize = 64;

pub fn groups(seen: &Observation, status: &RolloutStatus, target: &str) -> Vec<PreflightGroup> {
    let mut members: BTreeMap<(&str, &str), Vec<(&String, &RolloutNode)>> = BTreeMap::new();
    for (name, node) in seen.nodes.iter().filter(|(_, node)| node.takes_part() && !node.has(target)) {
        members.entry((&node.kernel, &node.composition)).or_default().push((name, node));
    }
    members
        .into_iter()
        .filter_map(|((kernel, composition), nodes)| {
            let known = status
                .preflight
                .iter()
                .find(|group| group.kernel == kernel && group.composition == composition)
                .filter(|group| group.verdict != PreflightVerdict::Pending);
            let count = i32::try_from(nodes.len()).unwrap_or(i32::MAX);
            if let Some(known) = known {
                return Some(PreflightGroup { nodes: count, ..known.clone() });
            }
            let node = node_order::for_trials(nodes.iter().copied(), target)?;
            let answer = seen.nodes.get(node).and_then(|node| answer(node, status, target));
            let (verdict, message) = answer.unwrap_or_default();
            Some(PreflightGroup {
                kernel: kernel.to_owned(),
                composition: composition.to_owned(),
                nodes: count,
                node: node.clone(),
                verdict,
                message,
            })
        })
        .collect()
}

fn answer(node: &RolloutNode, status: &RolloutStatus, target: &str) -> Option<(PreflightVerdict, String)> {
    let answer = node.preflight.as_ref()?;
    let asked = node.orders.preflight.as_ref() == Some(&answer.revision);
    let unpinned = revision::is_pinned_form(&answer.revision, target)
        && answer.digest.is_some()
        && answer.digest == status.digest;
    (asked && (answer.revision == target || unpinned)).then(|| (answer.verdict, answer.message.clone()))
}

pub fn table(mut groups: Vec<PreflightGroup>) -> Vec<PreflightGroup> {
    if groups.len() > LIMIT {
        groups.sort_by_key(|group| (group.verdict != PreflightVerdict::Failed, -group.nodes));
        groups.truncate(LIMIT);
    }
    groups.sort_by(|one, other| (&one.kernel, &one.composition).cmp(&(&other.kernel, &other.composition)));
    groups
}

pub fn extend(table: &mut Vec<PreflightGroup>, groups: Vec<PreflightGroup>) {
    for group in groups {
        let same =
            |known: &PreflightGroup| known.kernel == group.kernel && known.composition == group.composition;
        if let Some(known) = table.iter_mut().find(|known| same(known)) {
            if known.verdict == PreflightVerdict::Pending {
                *known = group;
            }
        } else if table.len() < LIMIT {
            table.push(group);
        }
    }
}

pub fn digest(seen: &Observation, table: &mut [PreflightGroup]) -> Option<String> {
    let found = |group: &PreflightGroup| seen.nodes.get(&group.node)?.preflight.as_ref()?.digest.clone();
    let digest = table.iter().find_map(found)?;
    for group in table {
        if found(group).is_some_and(|other| other != digest) {
            group.verdict = PreflightVerdict::Pending;
            group.message = String::new();
        }
    }
    Some(digest)
}

pub fn is_passed(status: &RolloutStatus, node: &RolloutNode) -> bool {
    let mut passed = status.preflight.iter().filter(|group| group.verdict == PreflightVerdict::Passed);
    let full = status.preflight.len() >= LIMIT;
    passed.any(|group| group.kernel == node.kernel && (full || group.composition == node.composition))
}

pub fn failure(groups: &[PreflightGroup]) -> Option<String> {
    let failed: Vec<_> = groups.iter().filter(|group| group.verdict == PreflightVerdict::Failed).collect();
    let first = failed.first()?;
    Some(format!(
        "the preflight failed in {} of {} groups, first on kernel {} (node {}): {}",
        failed.len(),
        groups.len(),
        first.kernel,
        first.node,
        first.message
    ))
}
