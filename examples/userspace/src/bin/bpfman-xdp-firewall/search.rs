//! Binary search over prefix lengths for the longest matching prefix. An entry for a length means that the longest
//! prefix has at least that length: the table has markers, entries without a prefix, on the way to longer prefixes.

use std::collections::BTreeMap;

use bpfman_examples::prefix::{Prefix, mask_v4, mask_v6};

const MAX_STEPS_V4: u32 = 6;
const MAX_STEPS_V6: u32 = 8;
const STEPS_V4: usize = 64;
const STEPS_V6: usize = 256;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search(Vec<Step>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    length: u32,
    /// Next step for longer prefixes; 0 for none, because no step leads to the first.
    longer: u8,
    shorter: u8,
}

impl Search {
    /// Builds a search of at most `most` steps. Each step halves the prefixes: common lengths come early.
    fn new(lengths: &BTreeMap<u32, usize>, most: u32) -> Self {
        let lengths: Vec<(u32, usize)> = lengths.iter().map(|(length, count)| (*length, *count)).collect();
        let mut search = Self::default();
        search.add(&lengths, most);
        search
    }

    pub fn over_v4(lengths: &BTreeMap<u32, usize>) -> Self {
        Self::new(lengths, MAX_STEPS_V4)
    }

    pub fn over_v6(lengths: &BTreeMap<u32, usize>) -> Self {
        Self::new(lengths, MAX_STEPS_V6)
    }

    fn add(&mut self, lengths: &[(u32, usize)], most: u32) -> u8 {
        let reached = 2_usize.pow(most.saturating_sub(1)) - 1;
        let prefixes = |lengths: &[(u32, usize)]| lengths.iter().map(|(_, count)| count).sum::<usize>();
        let fits = |at: &usize| *at <= reached && lengths.len() - at - 1 <= reached;
        let middle = (0..lengths.len()).filter(fits).min_by_key(|at| {
            let sides = prefixes(&lengths[..*at]).max(prefixes(&lengths[at + 1..]));
            (sides, at.abs_diff(lengths.len() / 2))
        });
        let Some(middle) = middle else { return 0 };
        let own = self.0.len();
        self.0.push(Step { length: lengths[middle].0, longer: 0, shorter: 0 });
        let shorter = self.add(&lengths[..middle], most - 1);
        let longer = self.add(&lengths[middle + 1..], most - 1);
        self.0[own] = Step { length: lengths[middle].0, longer, shorter };
        own as u8
    }

    pub fn markers(&self, prefix: Prefix) -> impl Iterator<Item = Prefix> {
        let mut at = 0_usize;
        let way = std::iter::from_fn(move || {
            let step = self.0.get(at).filter(|step| step.length != prefix.length())?;
            let is_marker = step.length < prefix.length();
            at = usize::from(if is_marker { step.longer } else { step.shorter });
            Some(is_marker.then(|| prefix.shortened(step.length)))
        });
        way.flatten()
    }

    pub fn to_v4(&self) -> [u8; 8 * STEPS_V4] {
        let mut bytes = [0; 8 * STEPS_V4];
        for (place, step) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(&self.0) {
            let [a, b, c, d] = mask_v4(step.length).to_be_bytes();
            *place = [a, b, c, d, step.length as u8, step.longer, step.shorter, 0];
        }
        bytes
    }

    pub fn to_v6(&self) -> [u8; 20 * STEPS_V6] {
        let mut bytes = [0; 20 * STEPS_V6];
        for (place, step) in bytes.as_chunks_mut::<20>().0.iter_mut().zip(&self.0) {
            place[..16].copy_from_slice(&mask_v6(step.length).to_be_bytes());
            place[16..].copy_from_slice(&[step.length as u8, step.longer, step.shorter, 0]);
        }
        bytes
    }

    #[cfg(test)]
    pub fn find<T>(&self, address: Prefix, table: impl Fn(Prefix) -> Option<T>) -> (Option<T>, u32) {
        let (mut found, mut at, mut steps) = (None, 0, 0);
        while let Some(step) = self.0.get(at) {
            steps += 1;
            let there = table(address.shortened(step.length));
            at = usize::from(if there.is_some() { step.longer } else { step.shorter });
            found = there.or(found);
            if at == 0 {
                break;
            }
        }
        (found, steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(all: impl IntoIterator<Item = u32>) -> BTreeMap<u32, usize> {
        all.into_iter().map(|length| (length, 1)).collect()
    }

    #[test]
    fn no_search_takes_more_steps_than_the_program_makes() {
        let one_of_many = |length: u32| (length, if length == 1 { 1_000_000 } else { 1 });
        for (all, room, most) in [
            (lengths(0..=32), MAX_STEPS_V4, 6),
            (lengths(0..=128), MAX_STEPS_V6, 8),
            ((0..=32).map(one_of_many).collect(), MAX_STEPS_V4, 6),
            ((0..=128).map(one_of_many).collect(), MAX_STEPS_V6, 8),
            (lengths([24]), MAX_STEPS_V4, 1),
            (lengths(8..15), MAX_STEPS_V4, 3),
        ] {
            let search = Search::new(&all, room);
            for answer in [Some(()), None] {
                let address = "::/128".parse().unwrap();
                assert!(search.find(address, |_| answer).1 <= most, "{all:?}");
            }
            for length in all.keys() {
                let prefix: Prefix = "ff00::/128".parse().unwrap();
                let (found, steps) =
                    search.find(prefix, |asked| (asked.length() <= *length).then_some(asked));
                assert_eq!(found.map(Prefix::length), Some(*length));
                assert!(steps <= most, "{all:?}");
            }
        }
        assert_eq!(Search::over_v4(&lengths([])), Search::default());
    }

    #[test]
    fn lengths_that_many_have_come_first() {
        let search = Search::over_v4(&BTreeMap::from([(8, 1), (16, 1), (24, 90), (32, 5)]));
        assert_eq!(search.0[0].length, 24);
        // With all 33 lengths, the last cannot be the root: 32 lengths would be left for five steps.
        let all: BTreeMap<u32, usize> =
            (0..=32).map(|length| (length, if length == 32 { 90 } else { 1 })).collect();
        assert_eq!(Search::over_v4(&all).0[0].length, 31);
    }

    #[test]
    fn markers_are_on_the_way_to_longer_prefixes() {
        let search = Search::over_v4(&lengths([8, 16, 24]));
        let markers = |text: &str| -> Vec<String> {
            search.markers(text.parse().unwrap()).map(|marker| marker.to_string()).collect()
        };
        assert_eq!(markers("10.1.2.0/24"), ["10.1.0.0/16"]);
        assert!(markers("10.1.0.0/16").is_empty() && markers("10.0.0.0/8").is_empty());
    }

    #[test]
    fn steps_lie_in_the_maps_as_the_program_reads_them() {
        let search = Search::over_v4(&lengths([8, 24]));
        let bytes = search.to_v4();
        let (first, second) = (search.0[0], search.0[1]);
        assert_eq!(bytes[..4], mask_v4(first.length).to_be_bytes());
        assert_eq!(bytes[4..8], [first.length as u8, first.longer, first.shorter, 0]);
        assert_eq!(bytes[8..12], mask_v4(second.length).to_be_bytes());
        assert!(bytes[16..].iter().all(|byte| *byte == 0));
        assert_eq!(search.to_v6()[16..20], bytes[4..8]);
    }
}
