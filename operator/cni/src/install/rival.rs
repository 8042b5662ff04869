//! Notices that another program takes the plugin out of the configuration again and again. Pure.

/// Looks that count, and additions among them that make a rival: five in ten seconds.
const LOOKS: u32 = 20;
const ADDITIONS: u32 = 5;

/// The last looks, and the additions that they took.
#[derive(Debug, Default)]
pub struct Rival {
    /// A bit a look, the last one lowest: the plugin had to be added.
    history: u32,
    /// Additions since the watch began, or since the plugin stayed where it had a rival.
    additions: u64,
    has_rival: bool,
}

impl Rival {
    /// Takes in whether the plugin had to be added at a look. The first addition has no rival as its cause.
    pub fn looked(&mut self, added: bool) {
        if !added && self.has_rival {
            // It stayed in between two looks, which are long apart by now.
            *self = Self::default();
            return;
        }
        self.history = (self.history << 1 | u32::from(added)) & ((1 << LOOKS) - 1);
        self.additions += u64::from(added);
        self.has_rival |= self.history.count_ones() >= ADDITIONS;
    }

    /// How often the plugin was added in vain, if another program takes it out again and again.
    pub const fn undone(&self) -> Option<u64> {
        if self.has_rival { Some(self.additions) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(looks: &[bool]) -> Rival {
        let mut rival = Rival::default();
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
