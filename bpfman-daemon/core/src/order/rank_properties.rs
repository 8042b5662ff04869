//! Properties of ranks, independent of intents.

use proptest::prelude::*;

use super::properties::{hook, links, members, ordered, place};
use super::*;

proptest! {
    #[test]
    fn tenants_come_last_and_change_nothing_for_the_machine(members in members(), tenants in any::<u8>()) {
        let rank = |at: usize| if tenants >> at & 1 == 1 { Rank::Namespace } else { Rank::Machine };
        let ranked = members.into_iter().enumerate();
        let mut all: Vec<Place> = ranked.map(|(at, place)| Place { rank: rank(at), ..place }).collect();
        let machine = |places: &[Place]| -> Vec<Place> {
            places.iter().filter(|place| place.rank == Rank::Machine).cloned().collect()
        };
        order_chain(&mut all, None);
        let own = machine(&all);
        prop_assert!(all.starts_with(&own));
        let Ok(alone) = solve(&own, &[]) else { return Ok(()) };
        // Tenants may contradict each other, but no one else.
        let Ok(with) = solve(&all, &[]) else { return Ok(()) };
        prop_assert!(links(&with).starts_with(&links(&alone)), "{all:?}");
    }

    /// At tcx the machine's links come first, then the chain, then those of namespaces, and an ordered hook stays.
    #[test]
    fn chain_stands_between_the_machine_and_namespaces(
        (members, mut standing) in hook(), tenants in any::<u8>(), chain in members(), at: usize, stands: bool
    ) {
        let rank = |place: &Place| if tenants >> (place.link.0 % 8) & 1 == 1 { Rank::Namespace } else { Rank::Machine };
        let ranked: Vec<Place> = members.into_iter().map(|place| Place { rank: rank(&place), ..place }).collect();
        let places = ordered(&ranked, None);
        if stands {
            standing.insert(at % (standing.len() + 1), Occupant::Chain);
        }
        let solved = |standing: &[Occupant]| solve_with_chain(&places, Some(&chain), standing);
        let Ok(first) = solved(&standing) else { return Ok(()) };
        let at = |entry: OrderedEntry| first.order.iter().position(|other| *other == entry).unwrap();
        for place in &places {
            let is_before = at(OrderedEntry::Ours(place.link)) < at(OrderedEntry::Chain);
            prop_assert_eq!(is_before, place.rank == Rank::Machine, "{:?}", first.order);
        }
        let foreign = |program| {
            let named = standing.iter().filter_map(Occupant::foreign).find(|foreign| foreign.program == program);
            Occupant::Foreign(named.unwrap().clone())
        };
        let entries = first.order.iter();
        let again: Vec<Occupant> = entries
            .map(|entry| match entry {
                OrderedEntry::Ours(link) => Occupant::Ours(*link),
                OrderedEntry::Chain => Occupant::Chain,
                OrderedEntry::Foreign(program) => foreign(*program),
            })
            .collect();
        prop_assert_eq!(solved(&again).unwrap().order, first.order);
    }
}

fn tenant(link: u32, priority: i32, before: &[&str], after: &[&str]) -> Place {
    Place { rank: Rank::Namespace, ..place(link, priority, before, after) }
}

#[test]
fn no_priority_and_no_intent_gets_a_namespace_in_front_of_the_machine() {
    let order = |places: &[Place]| {
        let mut places = places.to_vec();
        order_chain(&mut places, None);
        solve(&places, &[]).map(|solution| links(&solution))
    };
    assert_eq!(order(&[tenant(1, 0, &[], &[]), place(2, 900, &[], &[])]).unwrap(), [2, 1]);
    // A tenant's intent to run before the machine's programs causes no refusal, whichever is attached first: it waits.
    let wants = [place(2, 900, &[], &[]), tenant(1, 0, &["b"], &[])];
    assert_eq!(order(&wants).unwrap(), [2, 1]);
    assert_eq!(solve(&wants, &[]).unwrap().waiting.len(), 1);
    // Nor does an intent of the machine's programs about tenants: it waits, or holds anyway.
    let own = place(2, 900, &[], &["a"]);
    assert_eq!(order(&[tenant(1, 0, &[], &[]), own.clone()]).unwrap(), [2, 1]);
    assert_eq!(solve(&[own, tenant(1, 0, &[], &[])], &[]).unwrap().waiting.len(), 1);
    assert_eq!(
        order(&[tenant(1, 5, &[], &[]), tenant(3, 0, &[], &[]), place(2, 9, &[], &[])]).unwrap(),
        [2, 3, 1]
    );
}
