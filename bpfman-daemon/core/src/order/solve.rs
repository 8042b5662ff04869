//! The order that intents and priorities demand together.

use super::contradiction::{Contradiction, ContradictionStep};
use super::graph::{Edge, circle, sort};
use super::intent::KERNEL_NAME;
use super::{Anchor, Place, Side};
use crate::{LinkId, ProgramId};

/// A program of someone else on the same hook. Its place is the kernel's and is never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The kernel's id.
    pub program: ProgramId,
    /// Name, as the kernel keeps it.
    pub name: String,
}

/// Something that runs at a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OrderedEntry {
    /// A link of ours.
    Ours(LinkId),
    /// A program of someone else.
    Foreign(ProgramId),
}

/// What the kernel runs at a hook now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A link of ours.
    Ours(LinkId),
    /// A program of someone else.
    Foreign(Foreign),
}

impl Standing {
    /// The program of someone else.
    #[must_use]
    pub const fn foreign(&self) -> Option<&Foreign> {
        match self {
            Self::Foreign(foreign) => Some(foreign),
            Self::Ours(_) => None,
        }
    }
}

/// An intent that nothing on the hook answers to. It is kept, and holds again when something does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Whose intent.
    pub link: LinkId,
    /// On which side.
    pub side: Side,
    /// Of what.
    pub anchor: Anchor,
}

/// An order, with what it left open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solution {
    /// What runs, first to last.
    pub order: Vec<OrderedEntry>,
    /// Intents that wait.
    pub waiting: Vec<Waiting>,
}

/// Orders what runs at a hook: every intent that names something there holds, and everything else stays as near to
/// where it stands in `places` as that allows.
///
/// `places` are ours in the order that priorities give them ([`super::order_chain`], [`super::order_links`]); `standing`
/// is the kernel's list as it is now, where the kernel has one: programs of others keep their order, and one of ours
/// that is not there yet comes beside its neighbour of ours.
///
/// The order among ours depends on nothing of `standing` but the order of others' programs in it, so a hook that was
/// brought into this order stays as it is. Of two neighbours in it, the one that would come later by priority is first only
/// where an intent demands it. A member with an intent moves to what it names, rather than the other way round.
///
/// # Errors
/// The intents contradict each other, or the order of others' programs.
pub fn solve(places: &[Place], standing: &[Standing]) -> Result<Solution, Contradiction> {
    let foreign: Vec<&Foreign> = standing.iter().filter_map(Standing::foreign).collect();
    let foreign = foreign.as_slice();
    let edges = demands(places, foreign);
    let count = places.len();
    let (own, crossing): (Vec<Edge>, Vec<Edge>) =
        edges.iter().partition(|edge| edge.first < count && edge.second < count);
    let closed = own.into_iter().chain(through_others(count, &crossing)).collect::<Vec<_>>();
    let Ok(order) = sort(count, &closed) else {
        // With the programs of others in it, so that the circle is told whole.
        let stuck: Vec<usize> = (0..count + foreign.len()).collect();
        return Err(contradiction(&circle(&stuck, &edges), places, foreign));
    };
    let gaps = gaps(&order, places, standing, &crossing);
    let mut all = Vec::with_capacity(count + foreign.len());
    let mut others = foreign.iter().zip(gaps).peekable();
    for at in 0..=count {
        while let Some((other, _)) = others.next_if(|(_, gap)| *gap <= at) {
            all.push(OrderedEntry::Foreign(other.program));
        }
        all.extend(order.get(at).map(|node| OrderedEntry::Ours(places[*node].link)));
    }
    Ok(Solution { order: all, waiting: waiting(places, foreign) })
}

/// True if an anchor of `holder` means the node. Nodes are ours, and behind them those of others.
fn means(anchor: &Anchor, node: usize, holder: usize, places: &[Place], foreign: &[&Foreign]) -> bool {
    if node == holder {
        return false;
    }
    match (anchor, places.get(node)) {
        (Anchor::Link(id), Some(place)) => place.link == *id,
        (Anchor::Program(name), Some(place)) => place.name == *name,
        (Anchor::Role(role), Some(place)) => place.intent.role.as_ref() == Some(role),
        (Anchor::Foreign(name), None) => is_called(foreign[node - places.len()], name),
        _ => false,
    }
}

/// True if a foreign program goes by this name or number.
#[must_use]
pub fn is_called(foreign: &Foreign, name: &str) -> bool {
    let kept = name.as_bytes().get(..KERNEL_NAME).unwrap_or(name.as_bytes());
    foreign.name.as_bytes() == kept || foreign.program.to_string() == name
}

/// Everything that intents, and the order of others' programs, demand.
fn demands(places: &[Place], foreign: &[&Foreign]) -> Vec<Edge> {
    let count = places.len() + foreign.len();
    let mut edges: Vec<Edge> =
        (places.len() + 1..count).map(|at| Edge { first: at - 1, second: at, why: None }).collect();
    for (holder, place) in places.iter().enumerate() {
        for (number, (side, anchor)) in place.intent.anchors().enumerate() {
            for other in (0..count).filter(|other| means(anchor, *other, holder, places, foreign)) {
                let (first, second) = match side {
                    Side::Before => (holder, other),
                    Side::After => (other, holder),
                };
                edges.push(Edge { first, second, why: Some((holder, number)) });
            }
        }
    }
    edges
}

fn waiting(places: &[Place], foreign: &[&Foreign]) -> Vec<Waiting> {
    let count = places.len() + foreign.len();
    let mut waiting = Vec::new();
    for (holder, place) in places.iter().enumerate() {
        for (side, anchor) in place.intent.anchors() {
            if !(0..count).any(|other| means(anchor, other, holder, places, foreign)) {
                waiting.push(Waiting { link: place.link, side, anchor: anchor.clone() });
            }
        }
    }
    waiting
}

/// What follows for ours from demands about programs of others: who runs before one of these runs before everyone who
/// runs after it, or after a later one.
fn through_others(count: usize, crossing: &[Edge]) -> Vec<Edge> {
    let mut edges = Vec::new();
    for before in crossing.iter().filter(|edge| edge.first < count) {
        for after in crossing.iter().filter(|edge| edge.second < count && edge.first >= before.second) {
            edges.push(Edge { first: before.first, second: after.second, why: before.why });
        }
    }
    edges
}

/// How many of ours are to run before each program of others: as many as now, or as near to that as demands allow.
fn gaps(order: &[usize], places: &[Place], standing: &[Standing], crossing: &[Edge]) -> Vec<usize> {
    let count = order.len();
    let at = |node: usize| order.iter().position(|other| *other == node).unwrap_or(count);
    let is_there = |node: &usize| standing.contains(&Standing::Ours(places[*node].link));
    let there: Vec<usize> = (0..count).filter(|at| is_there(&order[*at])).collect();
    let (mut gaps, mut seen) = (Vec::new(), 0);
    for entry in standing {
        match entry {
            Standing::Ours(link) => seen += usize::from(places.iter().any(|place| place.link == *link)),
            // Those of ours that are new stand beside their neighbour of ours, and behind all others if it is none.
            Standing::Foreign(_) if seen == there.len() && seen > 0 => gaps.push(count),
            Standing::Foreign(_) => gaps.push(seen.checked_sub(1).map_or(0, |last| there[last] + 1)),
        }
    }
    for (other, gap) in gaps.iter_mut().enumerate() {
        // What has to run before an earlier one, or after a later one, is bound by this one too.
        let earlier = crossing.iter().filter(|e| e.first < count && e.second <= count + other);
        let later = crossing.iter().filter(|e| e.second < count && e.first >= count + other);
        let least = earlier.map(|edge| at(edge.first) + 1).max().unwrap_or(0);
        let most = later.map(|edge| at(edge.second)).min().unwrap_or(count);
        *gap = (*gap).max(least).min(most.max(least));
    }
    gaps
}

fn contradiction(circle: &[&Edge], places: &[Place], foreign: &[&Foreign]) -> Contradiction {
    let entry = |node: usize| match places.get(node) {
        Some(place) => (OrderedEntry::Ours(place.link), place.name.clone()),
        None => {
            let other = foreign[node - places.len()];
            (OrderedEntry::Foreign(other.program), other.name.clone())
        }
    };
    let steps = circle.iter().map(|edge| {
        let ((first, first_name), (second, second_name)) = (entry(edge.first), entry(edge.second));
        let why = edge.why.and_then(|(holder, number)| {
            let (side, anchor) = places[holder].intent.anchors().nth(number)?;
            Some((places[holder].link, side, anchor.clone()))
        });
        ContradictionStep { first, first_name, second, second_name, why }
    });
    Contradiction::new(steps.collect())
}
