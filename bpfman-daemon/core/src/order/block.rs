//! Where a chain that runs as one program stands among programs of others.

use super::contradiction::{Contradiction, ContradictionStep};
use super::{Anchor, Foreign, OrderedEntry, Place, Side, Waiting, is_called};
use crate::LinkId;

/// A place for a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    /// How many programs of others are to run before it.
    pub after: usize,
    /// Intents that wait.
    pub waiting: Vec<Waiting>,
}

/// A demand on the whole chain: of which member, by which anchor, about which program of others.
#[derive(Clone, Debug)]
struct Demand {
    holder: usize,
    anchor: Anchor,
    other: usize,
}

/// Finds the place of a chain among programs of others, which stand in the kernel's order: what its members want of
/// those holds for the whole chain, and it stays as near as that allows to where it stands, behind `now` of them.
///
/// # Errors
/// Two members, or one, want it on both sides of the same program, or against the order of others.
pub fn place_block(members: &[Place], foreign: &[Foreign], now: usize) -> Result<BlockPlace, Contradiction> {
    let mut waiting = Vec::new();
    // The last that has to run before the chain, and the first that has to run after it.
    let (mut last, mut first): (Option<Demand>, Option<Demand>) = (None, None);
    for (holder, member) in members.iter().enumerate() {
        for (side, anchor) in member.intent.anchors() {
            let Anchor::Foreign(name) = anchor else { continue };
            let mut called =
                foreign.iter().enumerate().filter(|(_, f)| is_called(f, name)).map(|(at, _)| at).peekable();
            if called.peek().is_none() {
                waiting.push(Waiting { link: member.link, side, anchor: anchor.clone() });
            }
            for other in called {
                let demand = Demand { holder, anchor: anchor.clone(), other };
                match side {
                    Side::After if last.as_ref().is_none_or(|last| last.other < other) => last = Some(demand),
                    Side::Before if first.as_ref().is_none_or(|first| first.other > other) => {
                        first = Some(demand);
                    }
                    _ => {}
                }
            }
        }
    }
    if let (Some(last), Some(first)) = (&last, &first)
        && last.other >= first.other
    {
        return Err(contradiction(last, first, members, foreign));
    }
    let least = last.map_or(0, |last| last.other + 1);
    let most = first.map_or(foreign.len(), |first| first.other);
    Ok(BlockPlace { after: now.clamp(least, most), waiting })
}

fn contradiction(last: &Demand, first: &Demand, members: &[Place], foreign: &[Foreign]) -> Contradiction {
    let ours = |demand: &Demand| {
        let member = &members[demand.holder];
        (OrderedEntry::Ours(member.link), member.name.clone())
    };
    let theirs = |demand: &Demand| {
        let other = &foreign[demand.other];
        (OrderedEntry::Foreign(other.program), other.name.clone())
    };
    let step = |first: (OrderedEntry, String),
                second: (OrderedEntry, String),
                why: Option<(LinkId, Side, Anchor)>| ContradictionStep {
        first: first.0,
        first_name: first.1,
        second: second.0,
        second_name: second.1,
        why,
    };
    let why = |demand: &Demand, side| Some((members[demand.holder].link, side, demand.anchor.clone()));
    let mut steps = vec![step(ours(first), theirs(first), why(first, Side::Before))];
    if first.other != last.other {
        steps.push(step(theirs(first), theirs(last), None));
    }
    steps.push(step(theirs(last), ours(last), why(last, Side::After)));
    Contradiction::new(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OrderIntent, ProgramId, ProgramUid};

    fn member(link: u32, before: &[&str], after: &[&str]) -> Place {
        let anchors = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Place {
            link: LinkId(link),
            program: ProgramUid(u64::from(link)),
            name: format!("member{link}"),
            priority: 0,
            sequence: u64::from(link),
            intent: OrderIntent { role: None, before: anchors(before), after: anchors(after) },
        }
    }

    fn others(names: &[&str]) -> Vec<Foreign> {
        let other = |(at, name): (usize, &&str)| Foreign {
            program: ProgramId(100 + at as u32),
            name: (*name).to_owned(),
        };
        names.iter().enumerate().map(other).collect()
    }

    #[test]
    fn a_chain_moves_no_further_than_its_members_want() {
        let foreign = others(&["a", "b", "c"]);
        let place = |members: &[Place], now| place_block(members, &foreign, now).unwrap().after;
        assert_eq!(place(&[member(1, &[], &[])], 2), 2);
        assert_eq!(place(&[member(1, &["foreign:b"], &[])], 3), 1);
        assert_eq!(place(&[member(1, &["foreign:b"], &[])], 0), 0);
        assert_eq!(place(&[member(1, &[], &["foreign:b"])], 0), 2);
        assert_eq!(place(&[member(1, &[], &["foreign:a"]), member(2, &["foreign:c"], &[])], 3), 2);
        assert_eq!(place(&[member(1, &[], &["foreign:101"])], 0), 2, "by the kernel's id");
    }

    #[test]
    fn two_members_that_want_opposite_sides_are_told_of_each_other() {
        let foreign = others(&["a", "b"]);
        let members = [member(1, &["foreign:a"], &[]), member(2, &[], &["foreign:b"])];
        let error = place_block(&members, &foreign, 0).unwrap_err().to_string();
        assert_eq!(
            error,
            "these cannot all hold: link 1 (member1) must run before program 100 of others (a) because of --before \
             foreign:a; program 100 of others (a) runs before program 101 of others (b), which bpfman does not change; \
             program 101 of others (b) must run before link 2 (member2) because of --after foreign:b of link 2"
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_waited_for() {
        let found = place_block(&[member(1, &["foreign:none"], &[])], &others(&["a"]), 1).unwrap();
        assert_eq!(found.after, 1);
        assert_eq!(found.waiting.len(), 1);
    }
}
