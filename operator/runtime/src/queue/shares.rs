use std::collections::HashMap;

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
    pub fn of(group: fn(&K) -> Option<String>, most: usize) -> Self {
        Self { group, most: most.max(1), working: HashMap::new() }
    }

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
