//! Properties of ranks, independent of intents.

use proptest::prelude::*;

use super::properties::{hook, links, members, ordered, place};
use super::*;

proptest! {
    /// The machine's programs run first at ingress and last at egress.
    #[test]
    fn tenants_change_nothing_for_the_machine(members in members(), tenants in any::<u8>(), out: bool) {
        let other = if out { RankOrder::TenantsFirst } else { RankOrder::TenantsLast };
        let turn = |at: usize| if tenants >> at & 1 == 1 { other } else { RankOrder::Machine };
        let ranked = members.into_iter().enumerate();
        let mut all: Vec<Place> = ranked.map(|(at, place)| Place { turn: turn(at), ..place }).collect();
        let machine = |places: &[Place]| -> Vec<Place> {
            places.iter().filter(|place| place.turn == RankOrder::Machine).cloned().collect()
        };
        order_chain(&mut all, None);
        let own = machine(&all);
        let is_outermost = if out { all.ends_with(&own) } else { all.starts_with(&own) };
        prop_assert!(is_outermost, "{all:?}");
        let Ok(alone) = solve(&own, &[]) else { return Ok(()) };
        // Tenants' intents can contradict each other, but not those of the machine.
        let Ok(with) = solve(&all, &[]) else { return Ok(()) };
        let (with, alone) = (links(&with), links(&alone));
        let is_outermost = if out { with.ends_with(&alone) } else { with.starts_with(&alone) };
        prop_assert!(is_outermost, "{all:?}");
    }

    /// At ingress, the machine's tcx links run first, then the chain, then the tenants' links. At egress, the
    /// tenants' run first, then an open chain, then the machine's. The order is stable.
    #[test]
    fn chain_stands_between_the_machine_and_tenants(
        (members, mut standing) in hook(), tenants in any::<u8>(), chain in members(), at: usize, stands: bool,
        out: bool, is_open: bool
    ) {
        let other = if out { RankOrder::TenantsFirst } else { RankOrder::TenantsLast };
        let turn = |place: &Place| if tenants >> (place.link.0 % 8) & 1 == 1 { other } else { RankOrder::Machine };
        let ranked: Vec<Place> = members.into_iter().map(|place| Place { turn: turn(&place), ..place }).collect();
        let places = ordered(&ranked, None);
        if stands {
            standing.insert(at % (standing.len() + 1), Occupant::Chain);
        }
        let solved = |standing: &[Occupant]| {
            solve_with_chain(&places, Some(TcChain { members: &chain, is_open }), standing)
        };
        let Ok(first) = solved(&standing) else { return Ok(()) };
        let at = |entry: OrderedEntry| first.order.iter().position(|other| *other == entry).unwrap();
        for place in &places {
            let is_before = at(OrderedEntry::Ours(place.link)) < at(OrderedEntry::Chain);
            let wanted = match place.turn {
                RankOrder::TenantsFirst => true,
                RankOrder::Machine => !is_open,
                RankOrder::TenantsLast => false,
            };
            prop_assert_eq!(is_before, wanted, "{:?}", first.order);
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

/// Returns a tenant's member at ingress.
fn tenant(link: u32, priority: i32, before: &[&str], after: &[&str]) -> Place {
    Place { turn: RankOrder::TenantsLast, ..place(link, priority, before, after) }
}

#[test]
fn no_tenant_gets_behind_the_machine_on_the_way_out() {
    let leaving = |link, priority, before: &[&str], after: &[&str]| Place {
        turn: RankOrder::TenantsFirst,
        ..place(link, priority, before, after)
    };
    let order = |places: &[Place]| {
        let mut places = places.to_vec();
        order_chain(&mut places, None);
        solve(&places, &[]).map(|solution| (links(&solution), solution.waiting.len()))
    };
    assert_eq!(order(&[place(2, 0, &[], &[]), leaving(1, 900, &[], &[])]).unwrap(), (vec![1, 2], 0));
    assert_eq!(order(&[place(2, 0, &[], &[]), leaving(1, 900, &[], &["b"])]).unwrap(), (vec![1, 2], 1));
    assert_eq!(order(&[place(2, 0, &[], &[]), leaving(1, 900, &["b"], &[])]).unwrap(), (vec![1, 2], 0));
    // An intent of the machine's program about a tenant's never causes a refusal.
    assert_eq!(order(&[place(2, 0, &["a"], &[]), leaving(1, 900, &[], &[])]).unwrap(), (vec![1, 2], 1));
}

#[test]
fn no_tenant_gets_in_front_of_the_machine() {
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
    // An intent of the machine's program about a tenant's causes none either: it waits, or is met anyway.
    let own = place(2, 900, &[], &["a"]);
    assert_eq!(order(&[tenant(1, 0, &[], &[]), own.clone()]).unwrap(), [2, 1]);
    assert_eq!(solve(&[own, tenant(1, 0, &[], &[])], &[]).unwrap().waiting.len(), 1);
    assert_eq!(
        order(&[tenant(1, 5, &[], &[]), tenant(3, 0, &[], &[]), place(2, 9, &[], &[])]).unwrap(),
        [2, 3, 1]
    );
}
