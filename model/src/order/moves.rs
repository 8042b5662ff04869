//! Moves that put a hook in order, and the neighbours of the moved links.

use super::{OrderedEntry, Side};
use crate::LinkId;

/// Neighbour beside which the kernel puts a link; `None` if there is no other entry.
pub type NeighbourPosition = Option<(Side, OrderedEntry)>;

/// Entries that stay, and entries to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moves {
    /// Entries that stay, in order.
    pub stays: Vec<OrderedEntry>,
    /// Entries of this daemon to move or to add, first to last.
    pub moves: Vec<OrderedEntry>,
}

/// Finds the fewest entries of this daemon that have to move from the order `now` to the order `wanted`. Third-party
/// programs never move. Of two solutions of equal length, the one that moves `changed` is used.
#[must_use]
pub fn moves(now: &[OrderedEntry], wanted: &[OrderedEntry], changed: Option<LinkId>) -> Moves {
    let there: Vec<(usize, OrderedEntry)> = wanted
        .iter()
        .filter_map(|entry| now.iter().position(|other| other == entry).map(|at| (at, *entry)))
        .collect();
    let weight = |entry: &OrderedEntry| match entry {
        // Outweighs all entries of this daemon together, so that it stays.
        OrderedEntry::Foreign(_) => 4 * there.len() + 4,
        OrderedEntry::Ours(link) if Some(*link) == changed => 1,
        OrderedEntry::Ours(_) | OrderedEntry::Chain => 2,
    };
    // For each entry: weight of the heaviest increasing subsequence that ends there, and the entry before it.
    let mut best: Vec<(usize, Option<usize>)> = Vec::with_capacity(there.len());
    for (at, (place, entry)) in there.iter().enumerate() {
        let before =
            (0..at).filter(|other| there[*other].0 < *place).max_by_key(|other| (best[*other].0, *other));
        best.push((before.map_or(0, |before| best[before].0) + weight(entry), before));
    }
    let mut stays = Vec::new();
    let mut next = (0..best.len()).max_by_key(|at| (best[*at].0, *at));
    while let Some(at) = next {
        stays.push(there[at].1);
        next = best[at].1;
    }
    stays.reverse();
    let is_foreign = |entry: &OrderedEntry| matches!(entry, OrderedEntry::Foreign(_));
    let moves = wanted.iter().filter(|entry| !stays.contains(entry) && !is_foreign(entry));
    Moves { moves: moves.copied().collect(), stays }
}

impl Moves {
    /// Returns the neighbour of an entry to move or to add: the next entry that stays, else the last one before it.
    #[must_use]
    pub fn beside(&self, moving: OrderedEntry, wanted: &[OrderedEntry]) -> NeighbourPosition {
        let at = wanted.iter().position(|entry| *entry == moving)?;
        let stays = |entry: &&OrderedEntry| self.stays.contains(entry);
        let next = wanted[at + 1..].iter().find(stays).map(|entry| (Side::Before, *entry));
        next.or_else(|| wanted[..at].iter().rev().find(stays).map(|entry| (Side::After, *entry)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::Config;

    use super::*;
    use crate::ProgramId;

    fn entries(ours: u32, others: u32) -> Vec<OrderedEntry> {
        let ours = (1..=ours).map(|id| OrderedEntry::Ours(LinkId(id)));
        ours.chain((1..=others).map(|id| OrderedEntry::Foreign(ProgramId(id)))).collect()
    }

    /// Returns current and wanted lists with the same third-party order; the first may lack an own entry.
    fn lists() -> impl Strategy<Value = (Vec<OrderedEntry>, Vec<OrderedEntry>)> {
        (0..6_u32, 0..4_u32, any::<bool>()).prop_flat_map(|(ours, others, comes)| {
            (Just(entries(ours, others)).prop_shuffle(), Just(entries(ours, others)).prop_shuffle()).prop_map(
                move |(now, mut wanted)| {
                    let mut order = now.iter().filter(|entry| matches!(entry, OrderedEntry::Foreign(_)));
                    for entry in wanted.iter_mut().filter(|entry| matches!(entry, OrderedEntry::Foreign(_))) {
                        *entry = *order.next().unwrap();
                    }
                    let now = now.into_iter().filter(|e| !comes || *e != OrderedEntry::Ours(LinkId(1)));
                    (now.collect(), wanted)
                },
            )
        })
    }

    proptest! {
        #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

        #[test]
        fn moving_one_after_the_other_leads_to_what_is_wanted((now, wanted) in lists()) {
            let mut list = now;
            let first = moves(&list, &wanted, None);
            for moving in &first.moves {
                let step = moves(&list, &wanted, None);
                list.retain(|entry| entry != moving);
                let at = match step.beside(*moving, &wanted) {
                    None => 0,
                    Some((Side::Before, next)) => list.iter().position(|entry| *entry == next).unwrap(),
                    Some((Side::After, last)) => list.iter().position(|entry| *entry == last).unwrap() + 1,
                };
                list.insert(at, *moving);
            }
            prop_assert_eq!(list, wanted);
        }

        #[test]
        fn third_party_programs_stay((now, wanted) in lists()) {
            let found = moves(&now, &wanted, None);
            let others = |list: &[OrderedEntry]| {
                list.iter().filter(|entry| matches!(entry, OrderedEntry::Foreign(_))).copied().collect::<Vec<_>>()
            };
            prop_assert_eq!(others(&found.stays), others(&wanted));
        }
    }

    #[test]
    fn of_two_that_change_places_the_changed_one_moves() {
        let [one, two] = [1, 2].map(LinkId);
        let [a, b] = [one, two].map(OrderedEntry::Ours);
        assert_eq!(moves(&[a, b], &[b, a], Some(one)).moves, [a]);
        assert_eq!(moves(&[a, b], &[b, a], Some(two)).moves, [b]);
        assert_eq!(moves(&[a, b], &[a, b], None).moves, []);
    }
}
