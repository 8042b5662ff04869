//! Sums that only grow, over things that come and go.
//!
//! Several programs may have the same labels, and so be one series. The plain sum of their counts would fall when one of
//! them is unloaded; Prometheus would take that for a restart, and count all that is left once more.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Counts of things, summed by their labels. `N` counts are kept of each.
#[derive(Debug)]
pub struct GrowingSums<Thing, Labels, const N: usize> {
    seen: HashMap<Thing, [u64; N]>,
    sums: BTreeMap<Labels, [u64; N]>,
}

impl<Thing, Labels, const N: usize> Default for GrowingSums<Thing, Labels, N> {
    fn default() -> Self {
        Self { seen: HashMap::new(), sums: BTreeMap::new() }
    }
}

impl<Thing: Eq + Hash, Labels: Ord + Clone, const N: usize> GrowingSums<Thing, Labels, N> {
    /// Takes the counts of all things that there are now, and answers the sums of the labels that they have. What was
    /// counted by things that are gone stays in their sums, as long as others with these labels are there.
    pub fn take(
        &mut self,
        now: impl IntoIterator<Item = (Thing, Labels, [u64; N])>,
    ) -> &BTreeMap<Labels, [u64; N]> {
        let mut before = std::mem::take(&mut self.sums);
        let mut seen = HashMap::with_capacity(self.seen.len());
        for (thing, labels, counts) in now {
            let then = self.seen.get(&thing).copied().unwrap_or([0; N]);
            let sum =
                self.sums.entry(labels).or_insert_with_key(|labels| before.remove(labels).unwrap_or([0; N]));
            for ((sum, now), then) in sum.iter_mut().zip(counts).zip(then) {
                // One that is less than before counts anew.
                *sum += if now >= then { now - then } else { now };
            }
            seen.insert(thing, counts);
        }
        self.seen = seen;
        &self.sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_does_not_fall_when_one_of_many_goes() {
        let mut sums: GrowingSums<u32, &str, 1> = GrowingSums::default();
        assert_eq!(sums.take([(1, "pass", [10]), (2, "pass", [5]), (3, "drop", [1])])["pass"], [15]);
        // The first went; the second counted two more.
        let now = sums.take([(2, "pass", [7])]);
        assert_eq!(now.get("pass"), Some(&[17]));
        assert_eq!(now.get("drop"), None, "nothing of that name is there any more");
        // A newcomer under an old number counts from its own beginning.
        assert_eq!(sums.take([(2, "pass", [3])])["pass"], [20]);
        assert_eq!(sums.take([(3, "drop", [4])])["drop"], [4]);
    }
}
