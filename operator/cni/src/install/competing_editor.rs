//! Detection of another program that removes the plugin from the configuration repeatedly.

/// A rival exists if the plugin had to be added in `ADDITIONS` of the last `LOOKS` polls: five times in ten seconds.
const LOOKS: u32 = 20;
const ADDITIONS: u32 = 5;

#[derive(Debug, Default)]
pub struct PollHistory {
    history: u32,
    additions: u64,
    has_rival: bool,
}

impl PollHistory {
    pub fn looked(&mut self, added: bool) {
        if !added && self.has_rival {
            // The plugin stayed between two polls, which are far apart while there is a rival.
            *self = Self::default();
            return;
        }
        self.history = (self.history << 1 | u32::from(added)) & ((1 << LOOKS) - 1);
        self.additions += u64::from(added);
        self.has_rival |= self.history.count_ones() >= ADDITIONS;
    }

    pub const fn undone(&self) -> Option<u64> {
        if self.has_rival { Some(self.additions) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(looks: &[bool]) -> PollHistory {
        let mut rival = PollHistory::default();
        looks.iter().for_each(|added| rival.looked(*added));
        rival
    }

    #[test]
    fn a_plugin_that_is_taken_out_again_and_again_has_a_rival() {
        assert_eq!(after(&[true; 4]).undone(), None);
        assert_eq!(after(&[true; 5]).undone(), Some(5));
        assert_eq!(after(&[true; 9]).undone(), Some(9));
        assert_eq!(after(&[true, false, true, false, true, false, true, false, true]).undone(), Some(5));
    }

    #[test]
    fn an_upgrade_of_the_network_plugin_is_no_rival() {
        let mut looks = vec![true];
        for _ in 0..10 {
            looks.extend([false; 10]);
            looks.push(true);
        }
        assert_eq!(after(&looks).undone(), None);
    }

    #[test]
    fn a_plugin_that_stays_ends_it() {
        let mut rival = after(&[true; 6]);
        rival.looked(true);
        assert_eq!(rival.undone(), Some(7));
        rival.looked(false);
        assert_eq!(rival.undone(), None);
        rival.looked(true);
        assert_eq!(rival.undone(), None, "it is counted anew");
    }
}
