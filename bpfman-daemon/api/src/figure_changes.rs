//! Differences between two readings, for clients that keep the previous one. Of an unchanged program, a
//! difference has only the counts; of a program that did not run, nothing.

use std::cmp::Ordering;
use std::collections::HashMap;

use bpfman_model::{MapId, ProgramId};
use bpfman_proto::ext::v1 as wire;
use bpfmand_engine::{ChainFigures, MapFigures, ProgramFigures};

use crate::figures_show;

pub struct ShownFigures<'a> {
    pub programs: Vec<&'a ProgramFigures>,
    pub chains: Vec<&'a ChainFigures>,
    pub maps: Vec<&'a MapFigures>,
}

impl ShownFigures<'_> {
    pub fn whole(self) -> wire::Figures {
        wire::Figures {
            programs: self.programs.into_iter().map(figures_show::program).collect(),
            chains: self.chains.into_iter().map(figures_show::chain).collect(),
            maps: self.maps.into_iter().map(figures_show::map).collect(),
            ..Default::default()
        }
    }

    pub fn since(self, before: ShownFigures<'_>) -> wire::Figures {
        let mut changes = wire::Figures { changes: true, ..Default::default() };
        let program_id = |program: &&ProgramFigures| program.id;
        each(&before.programs, &self.programs, program_id, |then, now| match (then, now) {
            (Some(then), Some(now)) if now.is_described_as(then) => {
                if (now.counts, now.in_chains) != (then.counts, then.in_chains) {
                    changes.counts.push(figures_show::counts(now));
                }
            }
            (_, Some(now)) => changes.programs.push(figures_show::program(now)),
            (Some(ProgramFigures { id: ProgramId(id), .. }), None) => changes.gone_programs.push(*id),
            (None, None) => {}
        });
        each(
            &before.maps,
            &self.maps,
            |map| map.id,
            |then, now| match (then, now) {
                (Some(then), Some(now)) if then == now => {}
                (_, Some(now)) => changes.maps.push(figures_show::map(now)),
                (Some(MapFigures { id: MapId(id), .. }), None) => changes.gone_maps.push(*id),
                (None, None) => {}
            },
        );
        let mut then: HashMap<&str, &ChainFigures> =
            before.chains.into_iter().map(|chain| (&*chain.hook, chain)).collect();
        for chain in self.chains {
            if then.remove(&*chain.hook) != Some(chain) {
                changes.chains.push(figures_show::chain(chain));
            }
        }
        changes.gone_chains = then.into_keys().map(ToOwned::to_owned).collect();
        changes
    }
}

/// Visits two lists in the order of ids. Each list has an id at most once.
fn each<'a, 'b, T, I: Ord>(
    then: &[&'a T],
    now: &[&'b T],
    id: impl Fn(&&T) -> I,
    mut tell: impl FnMut(Option<&'a T>, Option<&'b T>),
) {
    let (mut then, mut now) = (then.iter().copied().peekable(), now.iter().copied().peekable());
    loop {
        let order = match (then.peek(), now.peek()) {
            (Some(then), Some(now)) => id(then).cmp(&id(now)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return,
        };
        let gone_or_same = then.next_if(|_| order.is_le());
        tell(gone_or_same, now.next_if(|_| order.is_ge()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lists_are_gone_through_together() {
        let (then, now) = ([1, 2, 4, 7], [2, 3, 7, 8, 9]);
        let mut told = Vec::new();
        each(
            &then.each_ref(),
            &now.each_ref(),
            |number| **number,
            |then, now| {
                told.push((then.copied(), now.copied()));
            },
        );
        let expected = [
            (Some(1), None),
            (Some(2), Some(2)),
            (None, Some(3)),
            (Some(4), None),
            (Some(7), Some(7)),
            (None, Some(8)),
            (None, Some(9)),
        ];
        assert_eq!(told, expected);
        each::<i32, _>(&[], &[], |number| **number, |_, _| panic!("there is nothing"));
    }
}
