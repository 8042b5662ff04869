//! Sorting of nodes under constraints.

use std::collections::BTreeSet;

/// Constraint: `first` runs before `second`.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    pub first: usize,
    pub second: usize,
    /// Member with the intent, and the index of its anchor; `None` if the constraint comes from no intent.
    pub why: Option<(usize, usize)>,
}

/// Sorts the nodes `0..count`, ascending as far as edges allow. Fails with nodes that wait for each other.
pub fn sort(count: usize, edges: &[Edge]) -> Result<Vec<usize>, Vec<usize>> {
    let mut order = sort_by(&ranks(count, edges), edges)?;
    settle(&mut order, edges);
    Ok(order)
}

/// Returns each node's preferred rank: its number, or just before the earliest node that its intents precede.
///
/// "After" needs no rank: a node that waits for another is placed as soon as that one is.
fn ranks(count: usize, edges: &[Edge]) -> Vec<(usize, usize)> {
    let mut ranks: Vec<(usize, usize)> = (0..count).map(|at| (at, usize::MAX)).collect();
    // Each round propagates a rank over one more intent; a chain of intents is shorter than the number of nodes.
    for _ in 0..count {
        let mut changed = false;
        for edge in edges {
            let wanted = ranks[edge.second].0;
            if edge.why.is_some_and(|(holder, _)| edge.first == holder) && ranks[edge.first].0 > wanted {
                ranks[edge.first] = (wanted, edge.first);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    ranks
}

/// Sorts by rank, each node after all that have to run before it.
fn sort_by(ranks: &[(usize, usize)], edges: &[Edge]) -> Result<Vec<usize>, Vec<usize>> {
    let mut blocked = vec![0_usize; ranks.len()];
    for edge in edges {
        blocked[edge.second] += 1;
    }
    let mut left: Vec<usize> = (0..ranks.len()).collect();
    let mut order = Vec::with_capacity(ranks.len());
    while !left.is_empty() {
        let free = left.iter().enumerate().filter(|(_, node)| blocked[**node] == 0);
        let Some((at, _)) = free.min_by_key(|(_, node)| ranks[**node]) else { return Err(left) };
        let node = left.remove(at);
        for edge in edges.iter().filter(|edge| edge.first == node) {
            blocked[edge.second] -= 1;
        }
        order.push(node);
    }
    Ok(order)
}

/// Swaps neighbours that are in reverse order without a constraint, until there are none.
fn settle(order: &mut [usize], edges: &[Edge]) {
    let demanded: BTreeSet<(usize, usize)> = edges.iter().map(|edge| (edge.first, edge.second)).collect();
    // Every swap corrects one more pair, so the loop terminates.
    while let Some(at) = (1..order.len())
        .find(|at| order[*at] < order[at - 1] && !demanded.contains(&(order[at - 1], order[*at])))
    {
        order.swap(at - 1, at);
    }
}

/// Returns a shortest cycle of edges among nodes that wait for each other.
pub fn cycle<'a>(stuck: &[usize], edges: &'a [Edge]) -> Vec<&'a Edge> {
    let inside: Vec<&Edge> =
        edges.iter().filter(|edge| stuck.contains(&edge.first) && stuck.contains(&edge.second)).collect();
    let cycles = stuck.iter().filter_map(|start| cycle_through(*start, &inside));
    cycles.min_by_key(Vec::len).unwrap_or_default()
}

/// Returns the shortest path from a node back to itself.
fn cycle_through<'a>(start: usize, edges: &[&'a Edge]) -> Option<Vec<&'a Edge>> {
    let mut ways: Vec<Vec<&Edge>> =
        edges.iter().filter(|edge| edge.first == start).map(|edge| vec![*edge]).collect();
    let mut seen = BTreeSet::new();
    let mut next = 0;
    while let Some(way) = ways.get(next).cloned() {
        next += 1;
        let end = way.last()?.second;
        if end == start {
            return Some(way);
        }
        if !seen.insert(end) {
            continue;
        }
        for edge in edges.iter().filter(|edge| edge.first == end) {
            ways.push(way.iter().copied().chain([*edge]).collect());
        }
    }
    None
}
