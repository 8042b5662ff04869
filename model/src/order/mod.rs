//! Order of the members of one hook.
//!
//! Priorities determine one order ([`order_chain`], [`order_links`]); intents, which place a member before or after
//! others, take precedence over priorities ([`solve()`]).

mod contradiction;
mod graph;
mod intent;
mod moves;
mod solve;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod rank_properties;

pub use contradiction::{Contradiction, ContradictionStep};
pub use intent::{Anchor, BadAnchor, MAX_ANCHORS, OrderIntent, Role, Side};
pub use moves::{Moves, NeighbourPosition, moves};
pub use solve::{
    Foreign, Occupant, OrderedEntry, Solution, TcChain, Waiting, is_called, solve, solve_with_chain,
};

use crate::{Direction, LinkId, ProgramUid, Rank};

/// Maximum number of members of one chain.
pub const MAX_CHAIN_MEMBERS: usize = 32;

/// Position of a program among programs of other ranks: the machine's run first at ingress, and last at egress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RankOrder {
    /// Program of a tenant at egress.
    TenantsFirst,
    /// Program of the machine.
    #[default]
    Machine,
    /// Program of a tenant at ingress, or at a hook where its accepting verdicts are final.
    TenantsLast,
}

impl RankOrder {
    /// Returns the position of programs of a rank at a hook with this direction.
    #[must_use]
    pub const fn of(rank: Rank, direction: Option<Direction>) -> Self {
        match (rank, direction) {
            (Rank::Machine, _) => Self::Machine,
            (Rank::Tenant, Some(Direction::Egress)) => Self::TenantsFirst,
            (Rank::Tenant, _) => Self::TenantsLast,
        }
    }

    /// Returns the rank of programs at this position.
    #[must_use]
    pub const fn rank(self) -> Rank {
        match self {
            Self::Machine => Rank::Machine,
            Self::TenantsFirst | Self::TenantsLast => Rank::Tenant,
        }
    }
}

/// Properties that determine a member's position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Link of the member.
    pub link: LinkId,
    /// Uid of the program.
    pub program: ProgramUid,
    /// Function name of the program.
    pub name: String,
    /// Position by rank, which takes precedence over the priority.
    pub turn: RankOrder,
    /// Priority; lower ones run first, from 0.
    pub priority: i32,
    /// Sequence number, which grows with every attachment of this daemon.
    pub sequence: u64,
    /// Intents of the member's user.
    pub intent: OrderIntent,
}

impl Place {
    /// Returns the reason of the position: the intents that hold, else the priority.
    #[must_use]
    pub fn reason(&self, waiting: &[Waiting]) -> String {
        let waits = |side: Side, anchor: &Anchor| {
            waiting.iter().any(|w| w.link == self.link && w.side == side && w.anchor == *anchor)
        };
        let text = |wanted: bool| {
            let anchors = self.intent.anchors().filter(|(side, anchor)| waits(*side, anchor) == wanted);
            anchors.map(|(side, anchor)| format!("{side} {anchor}")).collect::<Vec<_>>().join(", ")
        };
        let (holds, waits) = (text(false), text(true));
        let priority = self.priority;
        let mut reason = match self.turn {
            RankOrder::Machine => format!("priority {priority}"),
            RankOrder::TenantsFirst => {
                format!("rank of tenants (first on the way out), then priority {priority}")
            }
            RankOrder::TenantsLast => format!("rank of tenants, then priority {priority}"),
        };
        if !holds.is_empty() {
            reason = format!("{holds}, then {reason}");
        }
        if !waits.is_empty() {
            reason = format!("{reason}; waiting: {waits}");
        }
        reason
    }
}

/// Sorts a chain of XDP or TC members by turn, then by priority. At equal priority, the newcomer runs first,
/// and the others follow by name; of members with the same name, the newest runs first.
///
/// The newcomer is the link that the last change of the hook added; after a detach there is none. The order therefore
/// depends only on the set of members and that link, not on earlier changes.
pub fn order_chain(places: &mut [Place], newcomer: Option<LinkId>) {
    places.sort_by(|a, b| {
        (a.turn, a.priority)
            .cmp(&(b.turn, b.priority))
            .then_with(|| (Some(b.link) == newcomer).cmp(&(Some(a.link) == newcomer)))
            .then_with(|| a.name.cmp(&b.name))
            .then_with(|| b.sequence.cmp(&a.sequence))
    });
}

/// Sorts tcx links: by turn, then by priority, at equal priority the oldest first.
pub fn order_links(places: &mut [Place]) {
    places.sort_by_key(|place| (place.turn, place.priority, place.sequence));
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Change of a hook: a program is attached with a priority, or the link at a position is detached.
    #[derive(Clone, Debug)]
    enum Change {
        Attach { program: usize, priority: i32 },
        Detach { at: usize },
    }

    const NAMES: [&str; 4] = ["count", "drop", "count", "allow"];

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            3 => (0..NAMES.len(), 0..3).prop_map(|(program, priority)| Change::Attach { program, priority }),
            2 => any::<usize>().prop_map(|at| Change::Detach { at }),
        ]
    }

    fn place(link: u32, program: usize, priority: i32) -> Place {
        Place {
            link: LinkId(link),
            program: ProgramUid(program as u64),
            name: NAMES[program].to_owned(),
            turn: RankOrder::Machine,
            priority,
            sequence: u64::from(link),
            intent: OrderIntent::default(),
        }
    }

    fn links(places: &[Place]) -> Vec<u32> {
        places.iter().map(|place| place.link.0).collect()
    }

    /// Applies changes one by one to a chain that is kept sorted; returns the chain and the newcomer after the last.
    fn play(changes: &[Change]) -> (Vec<Place>, Option<LinkId>) {
        let (mut chain, mut newcomer, mut last) = (Vec::new(), None, 0);
        for change in changes {
            match change {
                Change::Attach { program, priority } => {
                    last += 1;
                    // The initial position of the newcomer does not matter.
                    chain.insert(last as usize % (chain.len() + 1), place(last, *program, *priority));
                    newcomer = Some(LinkId(last));
                }
                Change::Detach { .. } if chain.is_empty() => continue,
                Change::Detach { at } => {
                    chain.remove(at % chain.len());
                    newcomer = None;
                }
            }
            order_chain(&mut chain, newcomer);
        }
        (chain, newcomer)
    }

    /// Sorts by the documented rule, implemented independently: by priority, newcomer, name, youngest.
    fn from_scratch(members: &[Place], newcomer: Option<LinkId>) -> Vec<u32> {
        let mut rest = members.to_vec();
        let mut order = Vec::new();
        while let Some(priority) = rest.iter().map(|place| place.priority).min() {
            let (mut group, others): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|place| place.priority == priority);
            rest = others;
            if let Some(at) = group.iter().position(|place| Some(place.link) == newcomer) {
                order.push(group.remove(at).link.0);
            }
            while let Some(name) = group.iter().map(|place| place.name.clone()).min() {
                let youngest = group
                    .iter()
                    .enumerate()
                    .filter(|(_, place)| place.name == name)
                    .max_by_key(|(_, place)| place.sequence)
                    .map(|(at, _)| at)
                    .unwrap();
                order.push(group.remove(youngest).link.0);
            }
        }
        order
    }

    proptest! {
        #[test]
        fn incremental_changes_equal_a_full_sort(changes in vec(change(), 0..40)) {
            let (chain, newcomer) = play(&changes);
            prop_assert_eq!(links(&chain), from_scratch(&chain, newcomer));
        }

        #[test]
        fn the_order_does_not_depend_on_where_members_stood_before(
            (mut chain, shuffled, newcomer) in vec(change(), 1..30).prop_flat_map(|changes| {
                let (chain, newcomer) = play(&changes);
                (Just(chain.clone()), Just(chain).prop_shuffle(), Just(newcomer))
            })
        ) {
            let mut again = shuffled;
            order_chain(&mut again, newcomer);
            order_chain(&mut chain, newcomer);
            prop_assert_eq!(again, chain);
        }

        #[test]
        fn a_detach_keeps_the_order_of_members_of_other_priorities(changes in vec(change(), 1..30), at: usize) {
            let (mut chain, _) = play(&changes);
            prop_assume!(!chain.is_empty());
            let gone = chain.remove(at % chain.len());
            let mut after = chain.clone();
            order_chain(&mut after, None);
            let priorities = |places: &[Place]| places.iter().map(|place| place.priority).collect::<Vec<_>>();
            prop_assert_eq!(priorities(&after), priorities(&chain));
            prop_assert!(!links(&after).contains(&gone.link.0));
        }

        #[test]
        fn links_that_the_kernel_orders_run_oldest_first(
            priorities in vec(0..3_i32, 0..20).prop_map(|all| {
                all.into_iter().enumerate().map(|(n, p)| place(n as u32 + 1, n % 4, p)).collect::<Vec<_>>()
            }).prop_shuffle()
        ) {
            let mut ordered = priorities;
            order_links(&mut ordered);
            for pair in ordered.windows(2) {
                prop_assert!((pair[0].priority, pair[0].link.0) < (pair[1].priority, pair[1].link.0));
            }
        }
    }

    #[test]
    fn equal_priority_newcomer_runs_first_and_names_after_detach() {
        let mut chain = vec![place(1, 1, 50), place(2, 0, 50), place(3, 3, 50)];
        order_chain(&mut chain, Some(LinkId(1)));
        assert_eq!(links(&chain), [1, 3, 2]); // drop is the newcomer; allow and count follow by name
        order_chain(&mut chain, None);
        assert_eq!(links(&chain), [3, 2, 1]);
    }

    #[test]
    fn a_newcomer_does_not_overtake_a_smaller_priority() {
        let mut chain = vec![place(1, 1, 0), place(2, 3, 1)];
        order_chain(&mut chain, Some(LinkId(2)));
        assert_eq!(links(&chain), [1, 2]);
    }

    #[test]
    fn of_two_links_of_one_name_the_younger_runs_first() {
        let mut chain = vec![place(1, 0, 5), place(2, 2, 5), place(3, 0, 5)];
        order_chain(&mut chain, None);
        assert_eq!(links(&chain), [3, 2, 1]);
    }
}
