use std::collections::{BTreeMap, BTreeSet};

use bpfman_application::orders::NodeOrders;
use bpfman_application::rollout::{RolloutPhase, RolloutStatus};

use super::amounts;
use super::count::Count;
use super::node_order;
use super::observation::{NodeHealth, Observation, RolloutNode};
use super::revision;
use super::trial;

pub fn orders(
    seen: &Observation,
    status: &RolloutStatus,
    has_preflight: bool,
) -> BTreeMap<String, NodeOrders> {
    let target = status.target_revision.as_deref();
    let (moves, to) = match (status.phase, target, status.stable_revision.as_deref()) {
        (RolloutPhase::Progressing, Some(target), _) => (wave(seen, status, target, has_preflight), target),
        (RolloutPhase::RollingBack, _, Some(stable)) => (all_without(seen, stable), stable),
        (RolloutPhase::Idle, _, Some(stable)) => (stragglers(seen, stable), stable),
        _ => (BTreeSet::new(), ""),
    };
    let trying = match (status.phase, target) {
        (RolloutPhase::Preflight | RolloutPhase::Progressing, Some(target)) if has_preflight => {
            trying(seen, status, target)
        }
        _ => BTreeSet::new(),
    };
    let frozen = status.phase == RolloutPhase::Paused;
    seen.nodes
        .iter()
        .filter_map(|(name, node)| {
            let mut orders = node.orders.clone();
            if moves.contains(name) {
                orders.revision = Some(to.to_owned());
            } else if node.is_fresh() && node.takes_part() {
                // The node runs nothing of this application, so nothing can break: give it the stable revision.
                orders.revision = status.stable_revision.clone();
            }
            if !frozen {
                orders.preflight = preflight(node, status, trying.contains(name), target);
            }
            orders.soak = soak(seen, status, node, &orders);
            (orders != node.orders).then(|| (name.clone(), orders))
        })
        .collect()
}

fn preflight(
    node: &RolloutNode,
    status: &RolloutStatus,
    tries: bool,
    target: Option<&str>,
) -> Option<String> {
    if tries {
        let asked = node.orders.preflight.as_deref();
        // A node that answered under the name without digest keeps its order.
        let kept = asked.filter(|asked| {
            let answer = node.preflight.as_ref().filter(|answer| answer.revision == *asked);
            target.is_some_and(|target| revision::is_pinned_form(asked, target))
                && answer.is_some_and(|answer| answer.digest == status.digest)
        });
        return kept.or(target).map(str::to_owned);
    }
    let ours = |asked: &&String| {
        [target, status.failed_revision.as_deref(), status.stable_revision.as_deref()]
            .into_iter()
            .flatten()
            .any(|name| revision::same_source(name, asked))
    };
    node.orders.preflight.as_ref().filter(|asked| !ours(asked)).cloned()
}

fn soak(
    seen: &Observation,
    status: &RolloutStatus,
    node: &RolloutNode,
    orders: &NodeOrders,
) -> Option<String> {
    let goes_out = status.target_revision.as_deref();
    match status.phase {
        RolloutPhase::Paused | RolloutPhase::Failed => node.orders.soak.clone(),
        _ if seen.rollout.gates.is_none() => None,
        _ => orders
            .revision
            .clone()
            .filter(|ordered| goes_out.is_some_and(|target| revision::same_source(ordered, target))),
    }
}

fn trying(seen: &Observation, status: &RolloutStatus, target: &str) -> BTreeSet<String> {
    use bpfman_application::rollout::PreflightVerdict::Pending;
    let all = status.phase == RolloutPhase::Preflight;
    let has_room = status.preflight.len() < trial::LIMIT;
    trial::groups(seen, status, target)
        .into_iter()
        .filter(|group| all || (group.verdict == Pending && has_room))
        .map(|group| group.node)
        .collect()
}

pub fn has_next(seen: &Observation, status: &RolloutStatus, target: &str, has_preflight: bool) -> bool {
    !wave(seen, status, target, has_preflight).is_empty()
}

fn wave(seen: &Observation, status: &RolloutStatus, target: &str, has_preflight: bool) -> BTreeSet<String> {
    let count = Count::of(seen, target);
    let number = usize::try_from(status.wave).unwrap_or(0);
    let amount = count.after_wave(seen, number);
    let budget = count.budget(seen, status.tolerated);
    let line = node_order::for_waves(seen, target, |node| {
        node.takes_part() && !node.has(target) && (!has_preflight || trial::is_passed(status, node))
    });
    within(line, amount.saturating_sub(count.members), budget, count.changing, count.unavailable)
}

fn within(
    line: Vec<(&String, &RolloutNode)>,
    room: usize,
    budget: usize,
    mut changing: usize,
    mut unavailable: usize,
) -> BTreeSet<String> {
    let mut chosen = BTreeSet::new();
    for (name, node) in line {
        if chosen.len() >= room || changing >= budget {
            break;
        }
        let well = !node.is_fresh() && node.progress() == NodeHealth::Healthy;
        if well && unavailable >= budget {
            continue;
        }
        unavailable += usize::from(well || node.is_fresh());
        changing += 1;
        chosen.insert(name.clone());
    }
    chosen
}

/// Returns all nodes to roll back, without waves: the stable revision works, and any other one is a risk.
fn all_without(seen: &Observation, stable: &str) -> BTreeSet<String> {
    let others = seen.nodes.iter().filter(|(_, node)| !node.is_fresh() && !node.has(stable));
    others.map(|(name, _)| name.clone()).collect()
}

/// Returns nodes without the stable revision: at most a first wave, and all that failed or are deselected.
fn stragglers(seen: &Observation, stable: &str) -> BTreeSet<String> {
    let count = Count::of(seen, stable);
    let first = amounts::first_wave(&seen.rollout, count.total);
    let failed =
        |node: &RolloutNode| seen.status.failed_revision.as_deref().is_some_and(|failed| node.has(failed));
    let line = node_order::for_waves(seen, stable, |node| {
        node.takes_part() && !node.is_fresh() && !node.has(stable) && !failed(node)
    });
    // Failures were accepted when the revision became stable: count only changing nodes that are present.
    let changing = seen
        .nodes
        .values()
        .filter(|node| node.takes_part() && node.has(stable) && node.progress() == NodeHealth::Pending);
    let changing = changing.count();
    let mut chosen = within(line, first, count.budget(seen, 0).min(first), changing, changing);
    let left_out = |node: &RolloutNode| node.present && (!node.selected || failed(node));
    let left_out =
        seen.nodes.iter().filter(|(_, node)| !node.is_fresh() && !node.has(stable) && left_out(node));
    chosen.extend(left_out.map(|(name, _)| name.clone()));
    chosen
}
