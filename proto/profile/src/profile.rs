use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::{Duration, SystemTime};

/// Weight of a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Number of samples.
    pub samples: u64,
    /// Sum of the samples' periods, in nanoseconds of CPU time.
    pub nanoseconds: u64,
}

impl AddAssign for Weight {
    fn add_assign(&mut self, other: Self) {
        self.samples = self.samples.saturating_add(other.samples);
        self.nanoseconds = self.nanoseconds.saturating_add(other.nanoseconds);
    }
}

/// Stacks of names, each from its root (a process, a node) to the function that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    stacks: BTreeMap<Vec<String>, Weight>,
    /// Start of the profile.
    pub started: SystemTime,
    /// Duration of the profile.
    pub duration: Duration,
    /// Notes for users: lost samples, missing names.
    pub notes: Vec<String>,
}

impl Profile {
    /// Creates a profile without samples.
    #[must_use]
    pub const fn new(started: SystemTime, duration: Duration) -> Self {
        Self { stacks: BTreeMap::new(), started, duration, notes: Vec::new() }
    }

    /// Adds samples of a stack, its root first.
    pub fn add(&mut self, stack: Vec<String>, weight: Weight) {
        *self.stacks.entry(stack).or_default() += weight;
    }

    /// Returns the stacks, sorted.
    pub fn stacks(&self) -> impl Iterator<Item = (&[String], Weight)> {
        self.stacks.iter().map(|(stack, weight)| (stack.as_slice(), *weight))
    }

    /// Returns the weight of all stacks.
    #[must_use]
    pub fn total(&self) -> Weight {
        self.stacks.values().fold(Weight::default(), |mut sum, weight| {
            sum += *weight;
            sum
        })
    }

    /// Adds a frame as the root of every stack, and a prefix to every note.
    #[must_use]
    pub fn under(self, root: &str) -> Self {
        let deeper = |stack: Vec<String>| std::iter::once(root.to_owned()).chain(stack).collect();
        Self {
            stacks: self.stacks.into_iter().map(|(stack, weight)| (deeper(stack), weight)).collect(),
            notes: self.notes.into_iter().map(|note| format!("{root}: {note}")).collect(),
            ..self
        }
    }

    /// Merges another profile: the earlier start and the longer duration count.
    pub fn merge(&mut self, other: Self) {
        self.started = self.started.min(other.started);
        self.duration = self.duration.max(other.duration);
        self.notes.extend(other.notes);
        for (stack, weight) in other.stacks {
            self.add(stack, weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn profile(stacks: &[(&[&str], u64)]) -> Profile {
        let mut profile = Profile::new(SystemTime::UNIX_EPOCH, Duration::from_secs(1));
        for (names, samples) in stacks {
            profile.add(stack(names), Weight { samples: *samples, nanoseconds: samples * 10 });
        }
        profile
    }

    #[test]
    fn equal_stacks_of_two_nodes_stay_separate() {
        let mut one = profile(&[(&["shop", "main"], 3), (&["shop", "main"], 1)]).under("a");
        let mut other = profile(&[(&["shop", "main"], 2)]);
        other.notes.push("1 stack lost".to_owned());
        other.duration = Duration::from_secs(2);
        one.merge(other.under("b"));
        let seen: Vec<_> = one.stacks().map(|(names, weight)| (names.to_vec(), weight.samples)).collect();
        assert_eq!(seen, [(stack(&["a", "shop", "main"]), 4), (stack(&["b", "shop", "main"]), 2)]);
        assert_eq!(one.notes, ["b: 1 stack lost"]);
        assert_eq!((one.duration.as_secs(), one.total().nanoseconds), (2, 60));
    }
}
