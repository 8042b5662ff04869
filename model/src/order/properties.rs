//! Properties of every order that the solver returns.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::*;
use crate::ProgramId;

const NAMES: [&str; 4] = ["count", "drop", "allow", "mark"];
const ROLES: [&str; 3] = ["firewall", "metrics", "none"];

fn anchor() -> impl Strategy<Value = Anchor> {
    prop_oneof![
        3 => (1..9_u32).prop_map(|id| Anchor::Link(LinkId(id))),
        2 => (0..NAMES.len()).prop_map(|at| Anchor::Program(NAMES[at].to_owned())),
        1 => (0..ROLES.len()).prop_map(|at| Anchor::Role(ROLES[at].parse().unwrap())),
        2 => (0..4_usize).prop_map(|at| Anchor::Foreign(format!("other{at}"))),
    ]
}

fn intent() -> impl Strategy<Value = OrderIntent> {
    (proptest::option::of(0..2_usize), vec(anchor(), 0..2), vec(anchor(), 0..2)).prop_map(
        |(role, before, after)| OrderIntent {
            role: role.map(|at| ROLES[at].parse().unwrap()),
            before,
            after,
        },
    )
}

pub(super) fn members() -> impl Strategy<Value = Vec<Place>> {
    let member = (0..NAMES.len(), 0..3_i32, prop_oneof![2 => Just(OrderIntent::default()), 2 => intent()]);
    vec(member, 0..8).prop_map(|all| {
        let place = |(at, (name, priority, intent)): (usize, (usize, i32, OrderIntent))| Place {
            turn: RankOrder::Machine,
            link: LinkId(at as u32 + 1),
            program: ProgramUid(name as u64),
            name: NAMES[name].to_owned(),
            priority,
            sequence: at as u64 + 1,
            intent,
        };
        all.into_iter().enumerate().map(place).collect()
    })
}

/// Returns contents of a hook: some of the members, in any order, among up to three third-party programs.
pub(super) fn hook() -> impl Strategy<Value = (Vec<Place>, Vec<Occupant>)> {
    (members(), 0..4_u32, any::<u64>()).prop_flat_map(|(members, others, some)| {
        let there = members.iter().filter(|place| some >> place.link.0 & 1 == 1);
        let mut standing: Vec<Occupant> = there.map(|place| Occupant::Ours(place.link)).collect();
        standing.extend((0..others).map(|at| {
            Occupant::Foreign(Foreign { program: ProgramId(100 + at), name: format!("other{at}") })
        }));
        (Just(members), Just(standing).prop_shuffle())
    })
}

pub(super) fn ordered(members: &[Place], newcomer: Option<LinkId>) -> Vec<Place> {
    let mut places = members.to_vec();
    order_chain(&mut places, newcomer);
    places
}

/// Returns whether an anchor of one member matches another entry, implemented independently.
fn means(
    anchor: &Anchor,
    holder: &Place,
    entry: &OrderedEntry,
    members: &[Place],
    standing: &[Occupant],
) -> bool {
    match entry {
        OrderedEntry::Ours(link) => {
            let Some(place) = members.iter().find(|place| place.link == *link) else { return false };
            place.link != holder.link
                && match anchor {
                    Anchor::Link(id) => place.link == *id,
                    Anchor::Program(name) => place.name == *name,
                    Anchor::Role(role) => place.intent.role.as_ref() == Some(role),
                    Anchor::Foreign(_) => false,
                }
        }
        OrderedEntry::Chain => false,
        OrderedEntry::Foreign(program) => standing.iter().filter_map(Occupant::foreign).any(|foreign| {
            foreign.program == *program && matches!(anchor, Anchor::Foreign(name) if *name == foreign.name)
        }),
    }
}

/// Returns all pairs of which one has to run before the other.
fn demanded(
    members: &[Place],
    standing: &[Occupant],
    all: &[OrderedEntry],
) -> Vec<(OrderedEntry, OrderedEntry)> {
    let mut pairs = Vec::new();
    for holder in members {
        for (side, anchor) in holder.intent.anchors() {
            for entry in all.iter().filter(|entry| means(anchor, holder, entry, members, standing)) {
                let own = OrderedEntry::Ours(holder.link);
                pairs.push(if side == Side::Before { (own, *entry) } else { (*entry, own) });
            }
        }
    }
    let others: Vec<OrderedEntry> =
        standing.iter().filter_map(Occupant::foreign).map(|f| OrderedEntry::Foreign(f.program)).collect();
    pairs.extend(others.windows(2).map(|pair| (pair[0], pair[1])));
    pairs
}

fn everything(members: &[Place], standing: &[Occupant]) -> Vec<OrderedEntry> {
    let others = standing.iter().filter_map(Occupant::foreign).map(|f| OrderedEntry::Foreign(f.program));
    members.iter().map(|place| OrderedEntry::Ours(place.link)).chain(others).collect()
}

/// Returns a configuration that reports failures completely, and writes no files beside the sources.
fn config() -> Config {
    Config { failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn all_intents_hold_or_a_true_cycle_is_reported((members, standing) in hook()) {
        let all = everything(&members, &standing);
        let pairs = demanded(&members, &standing, &all);
        match solve(&ordered(&members, None), &standing) {
            Ok(solution) => {
                let at = |entry: &OrderedEntry| solution.order.iter().position(|e| e == entry).unwrap();
                prop_assert_eq!(solution.order.len(), all.len());
                for (first, second) in &pairs {
                    prop_assert!(at(first) < at(second), "{:?} before {:?} in {:?}", first, second, solution.order);
                }
                for waiting in &solution.waiting {
                    let holder = members.iter().find(|place| place.link == waiting.link).unwrap();
                    prop_assert!(!all.iter().any(|e| means(&waiting.anchor, holder, e, &members, &standing)));
                }
            }
            Err(contradiction) => {
                let steps = contradiction.steps();
                prop_assert!(!steps.is_empty());
                for (at, step) in steps.iter().enumerate() {
                    prop_assert_eq!(step.second, steps[(at + 1) % steps.len()].first);
                    prop_assert!(pairs.contains(&(step.first, step.second)));
                }
            }
        }
    }

    #[test]
    fn the_order_does_not_depend_on_the_order_of_asking(
        ((members, standing), shuffled) in hook().prop_flat_map(|(members, standing)| {
            (Just((members.clone(), standing)), Just(members).prop_shuffle())
        })
    ) {
        prop_assert_eq!(
            solve(&ordered(&shuffled, None), &standing),
            solve(&ordered(&members, None), &standing)
        );
    }

    #[test]
    fn without_intents_priorities_alone_decide(members in members(), newcomer in 0..9_u32) {
        let bare: Vec<Place> = members
            .iter()
            .map(|place| Place { intent: OrderIntent::default(), ..place.clone() })
            .collect();
        let places = ordered(&bare, Some(LinkId(newcomer)));
        let solution = solve(&places, &[]).unwrap();
        prop_assert_eq!(solution.order, places.iter().map(|p| OrderedEntry::Ours(p.link)).collect::<Vec<_>>());
        prop_assert!(solution.waiting.is_empty());
    }

    #[test]
    fn neighbours_violate_priorities_only_if_an_intent_requires_it(members in members()) {
        let places = ordered(&members, None);
        let Ok(solution) = solve(&places, &[]) else { return Ok(()) };
        let pairs = demanded(&members, &[], &everything(&members, &[]));
        let rank = |entry: &OrderedEntry| places.iter().position(|place| OrderedEntry::Ours(place.link) == *entry).unwrap();
        for pair in solution.order.windows(2) {
            prop_assert!(rank(&pair[0]) < rank(&pair[1]) || pairs.contains(&(pair[0], pair[1])), "{:?}", pair);
        }
    }

    #[test]
    fn members_without_intents_keep_their_order(members in members()) {
        let places = ordered(&members, None);
        let Ok(solution) = solve(&places, &[]) else { return Ok(()) };
        let all = everything(&members, &[]);
        let pairs = demanded(&members, &[], &all);
        let is_free = |entry: &OrderedEntry| !pairs.iter().any(|(a, b)| a == entry || b == entry);
        let free: Vec<OrderedEntry> = solution.order.iter().copied().filter(is_free).collect();
        let wanted: Vec<OrderedEntry> = places.iter().map(|place| OrderedEntry::Ours(place.link)).filter(is_free).collect();
        prop_assert_eq!(free, wanted);
    }

    #[test]
    fn a_chain_runs_after_all_of_ours_and_stays_there(
        (members, mut standing) in hook(), chain in members(), at: usize, stands: bool
    ) {
        if stands {
            standing.insert(at % (standing.len() + 1), Occupant::Chain);
        }
        let solved = |standing: &[Occupant]| solve_with_chain(&ordered(&members, None), closed(&chain), standing);
        let Ok(first) = solved(&standing) else { return Ok(()) };
        let place = |entry: OrderedEntry| first.order.iter().position(|other| *other == entry).unwrap();
        let behind = place(OrderedEntry::Chain);
        for link in members.iter().map(|member| member.link) {
            prop_assert!(place(OrderedEntry::Ours(link)) < behind, "{:?}", first.order);
        }
        for foreign in standing.iter().filter_map(Occupant::foreign) {
            let at = place(OrderedEntry::Foreign(foreign.program));
            for (side, anchor) in chain.iter().flat_map(|member| member.intent.anchors()) {
                if matches!(anchor, Anchor::Foreign(name) if *name == foreign.name) {
                    prop_assert_eq!(at < behind, side == Side::After);
                }
            }
        }
        let name = |program| standing.iter().filter_map(Occupant::foreign).find(|f| f.program == program).unwrap();
        let again: Vec<Occupant> = first
            .order
            .iter()
            .map(|entry| match entry {
                OrderedEntry::Ours(link) => Occupant::Ours(*link),
                OrderedEntry::Chain => Occupant::Chain,
                OrderedEntry::Foreign(program) => Occupant::Foreign(name(*program).clone()),
            })
            .collect();
        prop_assert_eq!(solved(&again).unwrap().order, first.order);
    }

    #[test]
    fn a_hook_that_was_brought_into_order_stays_as_it_is((members, standing) in hook()) {
        let Ok(first) = solve(&ordered(&members, None), &standing) else { return Ok(()) };
        let name = |program| standing.iter().filter_map(Occupant::foreign).find(|f| f.program == program).unwrap();
        let again: Vec<Occupant> = first
            .order
            .iter()
            .map(|entry| match entry {
                OrderedEntry::Ours(link) => Occupant::Ours(*link),
                OrderedEntry::Chain => Occupant::Chain,
                OrderedEntry::Foreign(program) => Occupant::Foreign(name(*program).clone()),
            })
            .collect();
        prop_assert_eq!(solve(&ordered(&members, None), &again).unwrap().order, first.order);
    }
}

pub(super) fn place(link: u32, priority: i32, before: &[&str], after: &[&str]) -> Place {
    let anchors = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Place {
        link: LinkId(link),
        program: ProgramUid(u64::from(link)),
        name: ["", "a", "b", "c", "d"][link as usize].to_owned(),
        turn: RankOrder::Machine,
        priority,
        sequence: u64::from(link),
        intent: OrderIntent { role: None, before: anchors(before), after: anchors(after) },
    }
}

/// Returns a chain of tc programs of the machine.
fn closed(members: &[Place]) -> Option<TcChain<'_>> {
    Some(TcChain { members, is_open: false })
}

/// Number that stands for the tc chain in [`links`].
const CHAIN: u32 = 999;

pub(super) fn links(solution: &Solution) -> Vec<u32> {
    solution
        .order
        .iter()
        .map(|entry| match entry {
            OrderedEntry::Ours(link) => link.0,
            OrderedEntry::Chain => CHAIN,
            OrderedEntry::Foreign(program) => program.0,
        })
        .collect()
}

#[test]
fn member_with_intent_moves_and_others_stay() {
    let three =
        |first: Place, second: Place, third: Place| links(&solve(&[first, second, third], &[]).unwrap());
    assert_eq!(three(place(1, 0, &[], &["c"]), place(2, 1, &[], &[]), place(3, 2, &[], &[])), [2, 3, 1]);
    assert_eq!(three(place(1, 0, &[], &[]), place(2, 1, &[], &[]), place(3, 2, &["a"], &[])), [3, 1, 2]);
}

#[test]
fn cycle_is_reported_link_by_link() {
    let places = [place(1, 0, &["b"], &[]), place(2, 1, &["3"], &[]), place(3, 2, &["a"], &[])];
    assert_eq!(
        solve(&places, &[]).unwrap_err().with_new(LinkId(3)).to_string(),
        "these cannot all hold: link 1 (a) must run before link 2 (b) because of --before b; link 2 (b) must run \
         before the new link (c) because of --before 3; the new link (c) must run before link 1 (a) because of \
         --before a"
    );
}

#[test]
fn own_links_are_placed_around_third_party_programs() {
    let other =
        |id: u32, name: &str| Occupant::Foreign(Foreign { program: ProgramId(id), name: name.to_owned() });
    let standing = [other(100, "x"), Occupant::Ours(LinkId(1)), other(101, "y")];
    let solved = |places: &[Place]| links(&solve(places, &standing).unwrap());
    assert_eq!(solved(&[place(1, 0, &[], &[])]), [100, 1, 101]);
    assert_eq!(solved(&[place(1, 0, &["foreign:x"], &[])]), [1, 100, 101]);
    assert_eq!(solved(&[place(1, 0, &[], &["foreign:y"])]), [100, 101, 1]);
    assert_eq!(solved(&[place(2, 0, &[], &[]), place(1, 1, &[], &[])]), [100, 2, 1, 101], "beside ours");
    let error = solve(&[place(1, 0, &["foreign:x"], &["foreign:y"])], &standing).unwrap_err();
    assert_eq!(error.steps().len(), 3);
}

#[test]
fn the_reason_says_what_holds_and_what_waits() {
    let one = place(1, 5, &["b", "role=none"], &[]);
    let waiting = solve(&[one.clone(), place(2, 0, &[], &[])], &[]).unwrap().waiting;
    assert_eq!(one.reason(&waiting), "--before b, then priority 5; waiting: --before role=none");
    assert_eq!(place(2, 0, &[], &[]).reason(&[]), "priority 0");
}

fn others(names: &[&str]) -> Vec<Occupant> {
    let other = |(at, name): (usize, &&str)| {
        Occupant::Foreign(Foreign { program: ProgramId(100 + at as u32), name: (*name).to_owned() })
    };
    names.iter().enumerate().map(other).collect()
}

#[test]
fn tcx_programs_run_before_the_chain_at_any_position() {
    let solved = |places: &[Place], standing: &[Occupant]| {
        links(&solve_with_chain(places, closed(&[place(4, 0, &[], &[])]), standing).unwrap())
    };
    let one = || place(1, 500, &[], &[]);
    assert_eq!(solved(&[one()], &[Occupant::Chain]), [1, CHAIN]);
    assert_eq!(solved(&[one()], &[]), [1, CHAIN]);
    assert_eq!(
        solved(&[one(), place(2, 900, &[], &[])], &[Occupant::Ours(LinkId(1)), Occupant::Chain]),
        [1, 2, CHAIN]
    );
    let guard = others(&["guard"]);
    let among = [Occupant::Chain, guard[0].clone()];
    assert_eq!(solved(&[one()], &among), [1, CHAIN, 100], "beside the chain");
    let wrong = [Occupant::Chain, guard[0].clone(), Occupant::Ours(LinkId(1))];
    assert_eq!(solved(&[one()], &wrong), [1, CHAIN, 100], "the chain keeps its side of others");
    assert_eq!(solved(&[place(1, 0, &[], &["foreign:guard"])], &among), [100, 1, CHAIN], "the chain follows");
}

#[test]
fn a_chain_moves_no_further_than_its_members_want() {
    let foreign = others(&["a", "b", "c"]);
    let placed = |members: &[Place], now: Option<usize>| {
        let mut standing = foreign.clone();
        if let Some(now) = now {
            standing.insert(now, Occupant::Chain);
        }
        let order = solve_with_chain(&[], closed(members), &standing).unwrap().order;
        order.iter().position(|entry| *entry == OrderedEntry::Chain).unwrap()
    };
    let one = |before: &[&str], after: &[&str]| [place(1, 0, before, after)];
    assert_eq!(placed(&one(&[], &[]), Some(2)), 2);
    assert_eq!(placed(&one(&[], &[]), None), 3, "one that comes stands behind all others");
    assert_eq!(placed(&one(&["foreign:b"], &[]), None), 1);
    assert_eq!(placed(&one(&["foreign:b"], &[]), Some(0)), 0);
    assert_eq!(placed(&one(&[], &["foreign:b"]), Some(0)), 2);
    let two = [place(1, 0, &[], &["foreign:a"]), place(2, 0, &["foreign:c"], &[])];
    assert_eq!(placed(&two, Some(3)), 2);
    assert_eq!(placed(&one(&[], &["foreign:101"]), Some(0)), 2, "by the kernel's id");
}

#[test]
fn members_with_opposite_intents_learn_of_each_other() {
    let members = [place(1, 0, &["foreign:a"], &[]), place(2, 0, &[], &["foreign:b"])];
    let told = |contradiction: Contradiction| contradiction.to_string();
    assert_eq!(
        told(solve_with_chain(&[], closed(&members), &others(&["a", "b"])).unwrap_err()),
        "these cannot all hold: the tc chain must run before program 100 of others (a) because of --before \
         foreign:a of link 1; program 100 of others (a) runs before program 101 of others (b), which bpfman does not \
         change; program 101 of others (b) must run before the tc chain because of --after foreign:b of link 2"
    );
    let tcx = [place(3, 0, &[], &["foreign:a"])];
    assert_eq!(
        told(solve_with_chain(&tcx, closed(&members[..1]), &others(&["a"])).unwrap_err().with_new(LinkId(1))),
        "these cannot all hold: link 3 (c) must run before the tc chain, as all tcx programs of bpfman do; the tc \
         chain must run before program 100 of others (a) because of --before foreign:a of the new link; program 100 \
         of others (a) must run before link 3 (c) because of --after foreign:a of link 3"
    );
}

#[test]
fn missing_anchor_of_chain_member_is_reported() {
    let found =
        solve_with_chain(&[], closed(&[place(1, 0, &["foreign:none"], &[])]), &others(&["a"])).unwrap();
    assert_eq!(found.waiting.len(), 1);
}
