//! Loops of one function as a tree: repeated instructions and calls, and bounds of the rounds.
//!
//! A loop is a strongly connected component of jumps. If it repeats only after `bpf_iter_num_next` returned a number,
//! the iterator bounds its rounds; the verifier walks through the rounds of all other loops.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bpfman_model::Insn;

use super::helper_costs::cost_at;
use super::loops::CallSite;
use crate::text::opcode;
use crate::text::scan::{Effect, effect, target, walk, width};

/// Maximum depth of nested loops: the kernel's stack would allow more, which no program needs.
const MAX_NESTING: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// The function itself.
    Once,
    /// At most one round per number of the iterator created at this instruction, and one more.
    Counted { begin: usize, rounds: u64 },
    /// The verifier walked through each round, except rounds of iterators inside.
    Walked { begin: usize, iterated: u64 },
}

#[derive(Debug)]
pub(super) struct LoopTree {
    pub(super) times: Times,
    /// Instructions outside of inner loops.
    pub(super) cost: u64,
    pub(super) longest: u64,
    /// Calls outside of inner loops.
    pub(super) calls: Vec<CallSite>,
    pub(super) inside: Vec<Self>,
    repeated: BTreeSet<usize>,
}

impl LoopTree {
    fn new(times: Times, nodes: &BTreeSet<usize>, costs: &BTreeMap<usize, u64>) -> Self {
        let (calls, inside, repeated) = (Vec::new(), Vec::new(), BTreeSet::new());
        let longest = nodes.iter().map(|at| cost_at(costs, *at)).max().unwrap_or(1);
        Self { times, cost: cost_of(nodes, costs), longest, calls, inside, repeated }
    }

    pub(super) fn all_calls(&self) -> Vec<&CallSite> {
        self.calls.iter().chain(self.inside.iter().flat_map(|part| part.all_calls())).collect()
    }

    pub(super) fn walked_calls(&self) -> Vec<&CallSite> {
        let is_walked = matches!(self.times, Times::Walked { .. });
        let own = self.calls.iter().filter(|_| is_walked);
        own.chain(self.inside.iter().flat_map(|part| part.walked_calls())).collect()
    }

    /// Returns whether the function itself runs iterators or callbacks, callees excluded.
    pub(super) fn is_iterating(&self) -> bool {
        matches!(self.times, Times::Counted { .. })
            || self.calls.iter().any(|call| call.helper.is_some())
            || self.inside.iter().any(Self::is_iterating)
    }

    pub(super) fn repeats(&self, at: usize) -> bool {
        self.repeated.contains(&at)
    }
}

fn cost_of(nodes: &BTreeSet<usize>, costs: &BTreeMap<usize, u64>) -> u64 {
    nodes.iter().fold(0, |all: u64, at| all.saturating_add(cost_at(costs, *at)))
}

#[derive(Debug, Default)]
pub(super) struct Iterators {
    begun: BTreeMap<usize, i32>,
    /// By stack position: the instruction that begins the longest iterator there, and its rounds.
    longest: BTreeMap<i32, (usize, u64)>,
    asked: BTreeMap<usize, i32>,
}

impl Iterators {
    pub(super) fn begin(&mut self, at: usize, place: i32, rounds: u64) {
        self.begun.insert(at, place);
        let longest = self.longest.entry(place).or_insert((at, rounds));
        if rounds >= longest.1 {
            *longest = (at, rounds);
        }
    }

    pub(super) fn ask(&mut self, at: usize, place: i32) {
        self.asked.insert(at, place);
    }
}

/// Loop that neither an iterator bounds nor the verifier walks through.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unbounded {
    pub(super) at: usize,
}

struct Graph<'a> {
    insns: &'a [Insn],
    function: Range<usize>,
    iterators: &'a Iterators,
    costs: &'a BTreeMap<usize, u64>,
    /// Stack position of the iterator, by the edge from the test of its result to the loop body.
    found: BTreeMap<(usize, usize), i32>,
}

pub(super) fn loop_tree(
    insns: &[Insn],
    function: Range<usize>,
    calls: Vec<CallSite>,
    iterators: &Iterators,
    costs: &BTreeMap<usize, u64>,
) -> Result<LoopTree, Unbounded> {
    let nodes: BTreeSet<usize> = walk(insns, function.clone()).map(|(at, _)| at).collect();
    let is_followed = nodes.iter().all(|at| !matches!(effect_at(insns, *at), Effect::IndirectJump));
    let found = found_edges(insns, function.clone(), iterators);
    let graph = Graph { insns, function, iterators, costs, found };
    if !is_followed {
        // Any instruction may lead to any other.
        graph.check_walked(&nodes, &calls)?;
        let times = graph.walked(&nodes);
        return Ok(LoopTree { calls, repeated: nodes.clone(), ..LoopTree::new(times, &nodes, costs) });
    }
    let mut calls = calls.into_iter().map(|call| (call.at, call)).collect();
    graph.tree(Times::Once, &nodes, &mut calls, &mut BTreeSet::new())
}

fn effect_at(insns: &[Insn], at: usize) -> Effect {
    effect(insns[at], insns.get(at + 1).copied())
}

/// Finds the edges from tests of iterators to loop bodies. A test must follow the call, and nothing may jump to it.
fn found_edges(
    insns: &[Insn],
    function: Range<usize>,
    iterators: &Iterators,
) -> BTreeMap<(usize, usize), i32> {
    let jumped_to: BTreeSet<usize> = walk(insns, function.clone())
        .filter_map(|(at, effect)| match effect {
            Effect::Jump { distance, .. } | Effect::BoundedLoop { distance } => target(at, distance),
            _ => None,
        })
        .collect();
    let edge = |(at, place): (&usize, &i32)| {
        let test = at + 1;
        let insn = insns.get(test).filter(|_| function.contains(&test) && !jumped_to.contains(&test))?;
        let Effect::Jump { distance, conditional: true } = effect_at(insns, test) else { return None };
        let is_null_test = insn.dst() == 0 && insn.imm == 0;
        let (taken, passed) = (target(test, distance)?, test + 1);
        match insn.code {
            _ if !is_null_test || taken == passed => None,
            opcode::JEQ64 => Some(((test, passed), *place)),
            opcode::JNE64 => Some(((test, taken), *place)),
            _ => None,
        }
    };
    iterators.asked.iter().filter_map(edge).collect()
}

impl Graph<'_> {
    fn successors(&self, at: usize) -> [Option<usize>; 2] {
        let next = at + width(self.insns[at]);
        match effect_at(self.insns, at) {
            Effect::Exit => [None, None],
            Effect::Jump { distance, conditional } => [conditional.then_some(next), target(at, distance)],
            Effect::BoundedLoop { distance } => [Some(next), target(at, distance)],
            _ => [Some(next), None],
        }
        .map(|to| to.filter(|to| self.function.contains(to)))
    }

    /// Ignores loops of `ended` iterators. Takes linear time for any program, since a tenant writes it.
    fn tree(
        &self,
        times: Times,
        nodes: &BTreeSet<usize>,
        calls: &mut BTreeMap<usize, CallSite>,
        ended: &mut BTreeSet<i32>,
    ) -> Result<LoopTree, Unbounded> {
        let mut tree = LoopTree::new(times, nodes, self.costs);
        for part in self.components(nodes, ended) {
            tree.cost = tree.cost.saturating_sub(cost_of(&part, self.costs));
            tree.repeated.extend(&part);
            let within = self.looked_at(&part).filter_map(|at| calls.remove_entry(at));
            let mut within: BTreeMap<usize, CallSite> = within.collect();
            let (begin, place, rounds) = match self.bound(&part, ended) {
                Some(bound) if ended.len() < MAX_NESTING => bound,
                _ => {
                    let calls: Vec<CallSite> = within.into_values().collect();
                    self.check_walked(&part, &calls)?;
                    let walked = LoopTree::new(self.walked(&part), &part, self.costs);
                    tree.inside.push(LoopTree { calls, ..walked });
                    continue;
                }
            };
            ended.insert(place);
            tree.inside.push(self.tree(Times::Counted { begin, rounds }, &part, &mut within, ended)?);
            ended.remove(&place);
        }
        tree.calls.extend(std::mem::take(calls).into_values());
        Ok(tree)
    }

    fn looked_at<'p>(&self, part: &'p BTreeSet<usize>) -> impl Iterator<Item = &'p usize> + use<'p> {
        #[cfg(test)]
        tests::LOOKED_AT.with(|count| count.set(count.get() + part.len()));
        part.iter()
    }

    /// Returns the iterator that bounds a loop: it is created outside the loop and advanced inside.
    fn bound(&self, part: &BTreeSet<usize>, ended: &BTreeSet<i32>) -> Option<(usize, i32, u64)> {
        let begun: BTreeSet<i32> =
            self.looked_at(part).filter_map(|at| self.iterators.begun.get(at).copied()).collect();
        let tested = self.looked_at(part).flat_map(|at| self.found.range((*at, 0)..=(*at, usize::MAX)));
        let mut places =
            tested.map(|(_, place)| *place).filter(|place| !ended.contains(place) && !begun.contains(place));
        places.find_map(|place| self.iterators.longest.get(&place).map(|(at, rounds)| (*at, place, *rounds)))
    }

    /// Refuses iterators and callbacks in unbounded loops: the verifier may mistake each round for the one before.
    fn check_walked(&self, part: &BTreeSet<usize>, calls: &[CallSite]) -> Result<(), Unbounded> {
        let asked = self.looked_at(part).find(|at| self.iterators.asked.contains_key(at)).copied();
        let called_back = calls.iter().filter(|call| call.helper.is_some()).map(|call| call.at);
        asked.into_iter().chain(called_back).min().map_or(Ok(()), |at| Err(Unbounded { at }))
    }

    fn walked(&self, part: &BTreeSet<usize>) -> Times {
        let asked = self.looked_at(part).filter_map(|at| self.iterators.asked.get(at));
        let longest = asked.filter_map(|place| Some((*place, *self.iterators.longest.get(place)?)));
        let rounds: BTreeMap<i32, (usize, u64)> = longest.collect();
        let begin = rounds.values().map(|(at, _)| *at).min().or(part.first().copied()).unwrap_or_default();
        let iterated = rounds.values().fold(1, |all: u64, (_, rounds)| all.saturating_mul((*rounds).max(1)));
        Times::Walked { begin, iterated }
    }

    /// Tarjan's algorithm without recursion.
    fn components(&self, nodes: &BTreeSet<usize>, ended: &BTreeSet<i32>) -> Vec<BTreeSet<usize>> {
        let edges = |at: usize| {
            self.successors(at).into_iter().flatten().filter(move |to| {
                nodes.contains(to) && self.found.get(&(at, *to)).is_none_or(|place| !ended.contains(place))
            })
        };
        let mut order: BTreeMap<usize, usize> = BTreeMap::new();
        let mut lowest: BTreeMap<usize, usize> = BTreeMap::new();
        let (mut open, mut is_open) = (Vec::new(), BTreeSet::new());
        let mut components = Vec::new();
        for root in nodes {
            let mut path: Vec<(usize, Vec<usize>)> = Vec::new();
            let mut entered = (!order.contains_key(root)).then_some(*root);
            loop {
                if let Some(at) = entered.take() {
                    lowest.insert(at, order.len());
                    order.insert(at, order.len());
                    open.push(at);
                    is_open.insert(at);
                    path.push((at, edges(at).collect()));
                }
                let Some((at, left)) = path.last_mut() else { break };
                let at = *at;
                if let Some(to) = left.pop() {
                    match order.get(&to) {
                        None => entered = Some(to),
                        Some(number) if is_open.contains(&to) => {
                            let low = lowest[&at].min(*number);
                            lowest.insert(at, low);
                        }
                        Some(_) => {}
                    }
                    continue;
                }
                path.pop();
                if let Some((above, _)) = path.last() {
                    let low = lowest[above].min(lowest[&at]);
                    lowest.insert(*above, low);
                }
                if lowest[&at] == order[&at] {
                    let from = open.iter().rposition(|node| *node == at).unwrap_or_default();
                    let part: BTreeSet<usize> = open.drain(from..).collect();
                    for node in &part {
                        is_open.remove(node);
                    }
                    let loops = part.len() > 1 || edges(at).any(|to| to == at);
                    if loops {
                        components.push(part);
                    }
                }
            }
        }
        components
    }
}

#[cfg(test)]
#[path = "loop_tree_tests.rs"]
mod tests;
