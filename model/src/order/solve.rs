//! Order that satisfies intents and priorities together.

use super::contradiction::{Contradiction, ContradictionStep};
use super::graph::{Edge, cycle, sort};
use super::intent::KERNEL_NAME;
use super::{Anchor, Place, RankOrder, Side};
use crate::{LinkId, ProgramId, Rank};

/// Third-party program at the same hook. The kernel determines its position, which is never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Kernel id.
    pub program: ProgramId,
    /// Name, as the kernel keeps it.
    pub name: String,
}

/// Entry of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OrderedEntry {
    /// Link of this daemon.
    Ours(LinkId),
    /// Link of this daemon's chain of tc programs, which the kernel keeps in the same list as tcx links.
    Chain,
    /// Third-party program.
    Foreign(ProgramId),
}

impl OrderedEntry {
    /// Returns the link of this daemon; `None` for the chain and for third-party programs.
    #[must_use]
    pub const fn link(&self) -> Option<LinkId> {
        match self {
            Self::Ours(link) => Some(*link),
            Self::Chain | Self::Foreign(_) => None,
        }
    }
}

/// Entry that the kernel runs at a hook now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Occupant {
    /// Link of this daemon.
    Ours(LinkId),
    /// Link of this daemon's chain of tc programs.
    Chain,
    /// Third-party program.
    Foreign(Foreign),
}

impl Occupant {
    /// Returns the third-party program; `None` for other entries.
    #[must_use]
    pub const fn foreign(&self) -> Option<&Foreign> {
        match self {
            Self::Foreign(foreign) => Some(foreign),
            Self::Ours(_) | Self::Chain => None,
        }
    }

    /// Converts to an entry of a solution, which has only the id of a third-party program.
    #[must_use]
    pub const fn entry(&self) -> OrderedEntry {
        match self {
            Self::Ours(link) => OrderedEntry::Ours(*link),
            Self::Chain => OrderedEntry::Chain,
            Self::Foreign(foreign) => OrderedEntry::Foreign(foreign.program),
        }
    }
}

/// Intent without a matching entry at the hook. It is kept, and applies again when there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Link with the intent.
    pub link: LinkId,
    /// Side of the anchor.
    pub side: Side,
    /// Anchor without a matching entry.
    pub anchor: Anchor,
}

/// Order, and the intents that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solution {
    /// Entries, first to last.
    pub order: Vec<OrderedEntry>,
    /// Intents without a matching entry.
    pub waiting: Vec<Waiting>,
}

/// Orders the entries of a hook: all matching intents hold, and everything else stays as close to `places` as possible.
///
/// `places` are this daemon's members in the order of their priorities ([`super::order_chain`],
/// [`super::order_links`]); `standing` is the kernel's current list, if the kernel has one: third-party programs keep
/// their order, and a member that is not attached yet is placed beside its neighbour in `places`.
///
/// Only the order of third-party programs in `standing` affects the order among this daemon's members, so a
/// hook that is in the returned order stays as it is. Two neighbours are in reverse order of `places` only if
/// an intent requires it. A member with an intent moves to its anchor, rather than the other way round.
///
/// # Errors
/// The intents contradict each other, or the order of third-party programs.
pub fn solve(places: &[Place], standing: &[Occupant]) -> Result<Solution, Contradiction> {
    solve_with_chain(places, None, standing)
}

/// Chain of tc programs, which is or will be attached among tcx links.
#[derive(Clone, Copy, Debug)]
pub struct TcChain<'a> {
    /// Members of the chain, whose order among each other is solved separately.
    pub members: &'a [Place],
    /// True if programs behind the chain run even after it accepts a packet, so that the machine's tcx links
    /// may follow.
    pub is_open: bool,
}

/// Orders the entries of a hook like [`solve`], with a chain of tc programs among tcx links. The chain runs
/// after links of rank `TenantsFirst`, before those of `TenantsLast`, and after the machine's unless it is
/// open. Its members' intents decide its position among third-party programs.
pub fn solve_with_chain(
    places: &[Place],
    chain: Option<TcChain<'_>>,
    standing: &[Occupant],
) -> Result<Solution, Contradiction> {
    let hook = Hook::of(places, chain, standing);
    let (count, edges) = (hook.ours(), hook.demands());
    let (own, crossing): (Vec<Edge>, Vec<Edge>) =
        edges.iter().partition(|edge| edge.first < count && edge.second < count);
    let closed = own.into_iter().chain(through_others(count, &crossing)).collect::<Vec<_>>();
    let Ok(order) = sort(count, &closed) else {
        // Include the third-party programs, so that the error has the whole cycle.
        let stuck: Vec<usize> = (0..hook.all()).collect();
        return Err(hook.contradiction(&cycle(&stuck, &edges)));
    };
    let gaps = hook.gaps(&order, standing, &crossing);
    let mut all = Vec::with_capacity(hook.all());
    let mut others = hook.foreign.iter().zip(gaps).peekable();
    for at in 0..=count {
        while let Some((other, _)) = others.next_if(|(_, gap)| *gap <= at) {
            all.push(OrderedEntry::Foreign(other.program));
        }
        all.extend(order.get(at).map(|node| hook.entry(*node)));
    }
    Ok(Solution { order: all, waiting: hook.waiting() })
}

/// Entries to be ordered. Nodes are links of this daemon, the chain if there is one, and then third-party programs.
struct Hook<'a> {
    places: &'a [Place],
    chain: Option<TcChain<'a>>,
    foreign: Vec<&'a Foreign>,
}

impl<'a> Hook<'a> {
    fn of(places: &'a [Place], chain: Option<TcChain<'a>>, standing: &'a [Occupant]) -> Self {
        Self { places, chain, foreign: standing.iter().filter_map(Occupant::foreign).collect() }
    }

    fn ours(&self) -> usize {
        self.places.len() + usize::from(self.chain.is_some())
    }

    fn all(&self) -> usize {
        self.ours() + self.foreign.len()
    }

    fn entry(&self, node: usize) -> OrderedEntry {
        match (self.places.get(node), node.checked_sub(self.ours())) {
            (Some(place), _) => OrderedEntry::Ours(place.link),
            (None, Some(other)) => OrderedEntry::Foreign(self.foreign[other].program),
            (None, None) => OrderedEntry::Chain,
        }
    }

    fn name(&self, node: usize) -> String {
        match (self.places.get(node), node.checked_sub(self.ours())) {
            (Some(place), _) => place.name.clone(),
            (None, Some(other)) => self.foreign[other].name.clone(),
            (None, None) => String::new(),
        }
    }

    /// Returns the turn of a node: the machine's for third-party programs, and for the chain and its members.
    fn turn(&self, node: usize) -> RankOrder {
        self.places.get(node).map_or(RankOrder::Machine, |place| place.turn)
    }

    /// Returns a node's intents, with their links; for the chain, its members' about third-party programs.
    fn anchors(&self, node: usize) -> Vec<(LinkId, Side, &'a Anchor)> {
        let of = |place: &'a Place| place.intent.anchors().map(|(side, anchor)| (place.link, side, anchor));
        match (self.places.get(node), self.chain) {
            (Some(place), _) => of(place).collect(),
            (None, Some(TcChain { members, .. })) if node == self.places.len() => members
                .iter()
                .filter(|member| member.turn == RankOrder::Machine)
                .flat_map(of)
                .filter(|(_, _, anchor)| matches!(anchor, Anchor::Foreign(_)))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Returns whether an anchor of `holder` matches the node. No anchor matches the chain.
    ///
    /// No intent changes the order of ranks. An intent of the machine's program about a tenant's never
    /// matches. Neither does a tenant's intent to run between the network and programs of the machine or of
    /// third parties: it could prevent such programs from being attached later.
    fn means(&self, side: Side, anchor: &Anchor, node: usize, holder: usize) -> bool {
        let (own, other) = (self.turn(holder), self.turn(node));
        let is_against_rank = match (own, side) {
            (RankOrder::Machine, _) => other.rank() == Rank::Tenant,
            (RankOrder::TenantsFirst, Side::After) | (RankOrder::TenantsLast, Side::Before) => other != own,
            (RankOrder::TenantsFirst, Side::Before) | (RankOrder::TenantsLast, Side::After) => false,
        };
        if node == holder || is_against_rank {
            return false;
        }
        match (anchor, self.places.get(node), node.checked_sub(self.ours())) {
            (Anchor::Link(id), Some(place), _) => place.link == *id,
            (Anchor::Program(name), Some(place), _) => place.name == *name,
            (Anchor::Role(role), Some(place), _) => place.intent.role.as_ref() == Some(role),
            (Anchor::Foreign(name), None, Some(other)) => is_called(self.foreign[other], name),
            _ => false,
        }
    }

    /// Returns all constraints: of intents, turns, the third-party order, and the chain. At ingress a tenant's program
    /// before the chain could accept packets that the machine's members drop, because its verdict ends the kernel's
    /// list. At egress a tenant's member could change packets that the machine's tcx programs have accepted.
    fn demands(&self) -> Vec<Edge> {
        let others = self.ours() + 1..self.all();
        let mut edges: Vec<Edge> = others.map(|at| Edge { first: at - 1, second: at, why: None }).collect();
        if let Some(TcChain { is_open, .. }) = self.chain {
            let chain = self.places.len();
            edges.extend((0..chain).map(|link| match self.turn(link) {
                RankOrder::TenantsFirst => Edge { first: link, second: chain, why: None },
                RankOrder::Machine if !is_open => Edge { first: link, second: chain, why: None },
                RankOrder::Machine | RankOrder::TenantsLast => Edge { first: chain, second: link, why: None },
            }));
        }
        for second in 0..self.places.len() {
            let before = (0..self.places.len()).filter(|first| self.turn(*first) < self.turn(second));
            edges.extend(before.map(|first| Edge { first, second, why: None }));
        }
        for holder in 0..self.ours() {
            for (number, (_, side, anchor)) in self.anchors(holder).into_iter().enumerate() {
                for other in (0..self.all()).filter(|other| self.means(side, anchor, *other, holder)) {
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

    fn waiting(&self) -> Vec<Waiting> {
        let mut waiting = Vec::new();
        for holder in 0..self.ours() {
            for (link, side, anchor) in self.anchors(holder) {
                if !(0..self.all()).any(|other| self.means(side, anchor, other, holder)) {
                    waiting.push(Waiting { link, side, anchor: anchor.clone() });
                }
            }
        }
        waiting
    }

    /// Returns the number of this daemon's entries before each third-party program, as close to the current as possible.
    fn gaps(&self, order: &[usize], standing: &[Occupant], crossing: &[Edge]) -> Vec<usize> {
        let count = order.len();
        let at = |node: usize| order.iter().position(|other| *other == node).unwrap_or(count);
        let stands = |node: usize| standing.iter().any(|entry| entry.entry() == self.entry(node));
        let there: Vec<usize> = (0..count).filter(|at| stands(order[*at])).collect();
        let is_ours = |entry: OrderedEntry| order.iter().any(|node| self.entry(*node) == entry);
        let (mut gaps, mut seen) = (Vec::new(), 0);
        for entry in standing {
            match entry {
                Occupant::Ours(_) | Occupant::Chain => seen += usize::from(is_ours(entry.entry())),
                // New entries are beside their own neighbour; without one, after all third-party programs.
                Occupant::Foreign(_) if seen == there.len() && seen > 0 => gaps.push(count),
                Occupant::Foreign(_) => gaps.push(seen.checked_sub(1).map_or(0, |last| there[last] + 1)),
            }
        }
        // The chain stays on its side of each third-party program.
        if let Some(chain) = standing.iter().position(|entry| *entry == Occupant::Chain) {
            let before = standing[..chain].iter().filter_map(Occupant::foreign).count();
            let own = at(self.places.len());
            for (other, gap) in gaps.iter_mut().enumerate() {
                *gap = if other < before { (*gap).min(own) } else { (*gap).max(own + 1) };
            }
        }
        for (other, gap) in gaps.iter_mut().enumerate() {
            // Constraints with an earlier (`least`) or later (`most`) third-party program limit this gap too.
            let earlier = crossing.iter().filter(|e| e.first < count && e.second <= count + other);
            let later = crossing.iter().filter(|e| e.second < count && e.first >= count + other);
            let least = earlier.map(|edge| at(edge.first) + 1).max().unwrap_or(0);
            let most = later.map(|edge| at(edge.second)).min().unwrap_or(count);
            *gap = (*gap).max(least).min(most.max(least));
        }
        gaps
    }

    fn contradiction(&self, cycle: &[&Edge]) -> Contradiction {
        let steps = cycle.iter().map(|edge| {
            let why = edge.why.and_then(|(holder, number)| {
                let (link, side, anchor) = self.anchors(holder).into_iter().nth(number)?;
                Some((link, side, anchor.clone()))
            });
            ContradictionStep {
                first: self.entry(edge.first),
                first_name: self.name(edge.first),
                second: self.entry(edge.second),
                second_name: self.name(edge.second),
                why,
            }
        });
        Contradiction::new(steps.collect())
    }
}

/// Returns whether a third-party program has this name or id.
#[must_use]
pub fn is_called(foreign: &Foreign, name: &str) -> bool {
    let kept = name.as_bytes().get(..KERNEL_NAME).unwrap_or(name.as_bytes());
    foreign.name.as_bytes() == kept || foreign.program.to_string() == name
}

/// Returns the constraints among this daemon's entries that follow from those about third-party programs: an
/// entry that runs before such a program runs before every entry that runs after it or after a later one.
fn through_others(count: usize, crossing: &[Edge]) -> Vec<Edge> {
    let mut edges = Vec::new();
    for before in crossing.iter().filter(|edge| edge.first < count) {
        for after in crossing.iter().filter(|edge| edge.second < count && edge.first >= before.second) {
            edges.push(Edge { first: before.first, second: after.second, why: before.why });
        }
    }
    edges
}
