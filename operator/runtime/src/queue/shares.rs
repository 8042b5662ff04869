//! The share of workers that keys of one group may have at the same time.

use std::collections::HashMap;

/// Counts what is worked on by group. Without [`Shares::of`], every key is free.
#[derive(Debug)]
pub struct Shares<K> {
    group: fn(&K) -> Option<String>,
    most: usize,
    working: HashMap<String, usize>,
}

impl<K> Default for Shares<K> {
    fn default() -> Self {
        Self::of(|_| None, usize::MAX)
    }
}

impl<K> Shares<K> {
    /// Lets at most `most` keys of one group be worked on; keys without a group are not counted.
    pub fn of(group: fn(&K) -> Option<String>, most: usize) -> Self {
        Self { group, most: most.max(1), working: HashMap::new() }
    }

    /// Returns whether a key may be worked on now.
    pub fn is_free(&self, key: &K) -> bool {
        let working = |group: String| self.working.get(&group).copied().unwrap_or_default();
        (self.group)(key).is_none_or(|group| working(group) < self.most)
    }

    pub fn begin(&mut self, key: &K) {
        if let Some(group) = (self.group)(key) {
            *self.working.entry(group).or_default() += 1;
        }
    }

    pub fn end(&mut self, key: &K) {
        let Some(group) = (self.group)(key) else { return };
        if let Some(working) = self.working.get_mut(&group) {
            *working -= 1;
            if *working == 0 {
                self.working.remove(&group);
            }
        }
    }
}
