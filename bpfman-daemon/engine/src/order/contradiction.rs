//! Order in spite of intents that contradict each other.

use bpfman_model::{
    Anchor, Contradiction, Occupant, OrderIntent, OrderedEntry, Place, RankOrder, Solution, TcChain,
    solve_with_chain,
};

/// Solves an order; on a contradiction again, first without intents about third-party programs, then without any.
pub fn solve_or_fall_back(
    places: &[Place],
    chain: Option<TcChain<'_>>,
    standing: &[Occupant],
) -> (Solution, Option<Contradiction>) {
    let contradiction = match solve_with_chain(places, chain, standing) {
        Ok(solution) => return (solution, None),
        Err(contradiction) => contradiction,
    };
    let keep = |intent: &OrderIntent| {
        let own = |anchors: &[Anchor]| {
            let is_own = |anchor: &&Anchor| !matches!(anchor, Anchor::Foreign(_));
            anchors.iter().filter(is_own).cloned().collect()
        };
        OrderIntent { role: intent.role.clone(), before: own(&intent.before), after: own(&intent.after) }
    };
    let drop_all = |_: &OrderIntent| OrderIntent::default();
    let less = |keep: &dyn Fn(&OrderIntent) -> OrderIntent| -> Option<Solution> {
        let lessened = |places: &[Place]| -> Vec<Place> {
            places.iter().map(|place| Place { intent: keep(&place.intent), ..place.clone() }).collect()
        };
        let members = chain.map(|chain| lessened(chain.members)).unwrap_or_default();
        let chain = chain.map(|chain| TcChain { members: &members, ..chain });
        solve_with_chain(&lessened(places), chain, standing).ok()
    };
    let solution = less(&keep)
        .or_else(|| less(&drop_all))
        .unwrap_or_else(|| Solution { order: in_turns(places, chain), waiting: Vec::new() });
    (solution, Some(contradiction))
}

fn in_turns(places: &[Place], chain: Option<TcChain<'_>>) -> Vec<OrderedEntry> {
    let is_before = |place: &Place| match place.turn {
        RankOrder::TenantsFirst => true,
        RankOrder::Machine => chain.is_none_or(|chain| !chain.is_open),
        RankOrder::TenantsLast => false,
    };
    let (before, behind): (Vec<&Place>, Vec<&Place>) = places.iter().partition(|place| is_before(place));
    let of = |place: &Place| OrderedEntry::Ours(place.link);
    let chain = chain.map(|_| OrderedEntry::Chain);
    before.into_iter().map(of).chain(chain).chain(behind.into_iter().map(of)).collect()
}
