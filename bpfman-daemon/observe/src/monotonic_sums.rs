//! Monotonic sums over objects that appear and disappear.
//!
//! Several programs may have the same labels and share a series. The plain sum of their counts would decrease when one
//! of them is unloaded; Prometheus would treat that as a restart, and count the remaining sum again.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

#[derive(Debug)]
pub struct MonotonicSums<Thing, Labels, const N: usize> {
    seen: HashMap<Thing, [u64; N]>,
    sums: BTreeMap<Labels, [u64; N]>,
}

impl<Thing, Labels, const N: usize> Default for MonotonicSums<Thing, Labels, N> {
    fn default() -> Self {
        Self { seen: HashMap::new(), sums: BTreeMap::new() }
    }
}

impl<Thing: Eq + Hash, Labels: Ord + Clone, const N: usize> MonotonicSums<Thing, Labels, N> {
    /// Returns the sums of present labels. Counts of removed objects stay while other objects have the same labels.
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
                // A smaller count has started again.
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
        let mut sums: MonotonicSums<u32, &str, 1> = MonotonicSums::default();
        assert_eq!(sums.take([(1, "pass", [10]), (2, "pass", [5]), (3, "drop", [1])])["pass"], [15]);
        let now = sums.take([(2, "pass", [7])]);
        assert_eq!(now.get("pass"), Some(&[17]));
        assert_eq!(now.get("drop"), None, "nothing of that name is there any more");
        // A new object with a former id counts from its own start.
        assert_eq!(sums.take([(2, "pass", [3])])["pass"], [20]);
        assert_eq!(sums.take([(3, "drop", [4])])["drop"], [4]);
    }
}
