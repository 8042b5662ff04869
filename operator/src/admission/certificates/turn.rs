//! Which generation is served, when the next one is made, and when the last one goes. Pure: time is told.

use std::collections::BTreeMap;

use super::Generation;

/// Times of certificates.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long one is valid.
    pub seconds: u64,
}

impl Terms {
    /// The age at which the next one is made.
    #[must_use]
    pub const fn renew(self) -> u64 {
        self.seconds * 2 / 3
    }

    /// How long the API servers have, after they were told of an authority, until they have to trust it.
    #[must_use]
    pub const fn settle(self) -> u64 {
        let share = self.seconds / 12;
        if share > 600 { 600 } else { share + 1 }
    }

    /// How often this is looked at.
    #[must_use]
    pub const fn tick(self) -> u64 {
        let share = self.settle() / 4;
        if share > 60 { 60 } else { share + 1 }
    }
}

/// What this process saw of generations.
#[derive(Debug, Default)]
pub struct Turn {
    /// Since when the API server's configuration trusts each, by when it was made.
    trusted: BTreeMap<u64, u64>,
    /// Which is served, and since when.
    serving: Option<(u64, u64)>,
}

impl Turn {
    /// Whether another generation is to be made: there is none that will do for long.
    #[must_use]
    pub fn is_due(generations: &[Generation], now: u64, terms: Terms) -> bool {
        generations.iter().all(|one| one.created + terms.renew() <= now || one.not_after <= now)
    }

    /// Takes in what the configuration trusts now.
    pub fn see(&mut self, generations: &[Generation], trusted: &str, now: u64) {
        let is_trusted = |one: &&Generation| trusted.contains(one.authority.trim());
        let seen: Vec<u64> = generations.iter().filter(is_trusted).map(|one| one.created).collect();
        self.trusted.retain(|created, _| seen.contains(created));
        for created in seen {
            self.trusted.entry(created).or_insert(now);
        }
    }

    /// The generation to serve: the newest that has been trusted long enough; else the one that is served, as long as
    /// it is valid; else the oldest that is, which was trusted for longest.
    pub fn serve<'a>(
        &mut self,
        generations: &'a [Generation],
        now: u64,
        terms: Terms,
    ) -> Option<&'a Generation> {
        let valid = || generations.iter().filter(|one| now < one.not_after);
        let settled = |one: &&Generation| {
            self.trusted.get(&one.created).is_some_and(|since| since + terms.settle() <= now)
        };
        let newest = valid().filter(settled).max_by_key(|one| one.created);
        let current = self.serving.and_then(|(created, _)| valid().find(|one| one.created == created));
        let chosen = newest.or(current).or_else(|| valid().min_by_key(|one| one.created));
        let created = chosen?.created;
        if self.serving.is_none_or(|(before, _)| before != created) {
            self.serving = Some((created, now));
        }
        chosen
    }

    /// The generations that are still needed: not those that ended, nor those before the one that has been served long
    /// enough for every other controller to serve it too.
    #[must_use]
    pub fn needed(&self, generations: &[Generation], now: u64, terms: Terms) -> Vec<Generation> {
        let since = |time: u64| now.saturating_sub(time);
        let old = |one: &Generation| {
            self.serving
                .is_some_and(|(created, from)| one.created < created && since(from) >= 2 * terms.settle())
        };
        generations.iter().filter(|one| now < one.not_after && !old(one)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::bundle;
    use super::*;

    /// A day; renewed after 16 hours, ten minutes to settle.
    const TERMS: Terms = Terms { seconds: 86_400 };

    fn generation(created: u64) -> Generation {
        Generation {
            created,
            not_after: created + TERMS.seconds,
            authority: format!("authority {created};"),
            certificate: String::new(),
            key: String::new(),
        }
    }

    #[test]
    fn the_first_one_is_served_at_once() {
        let (mut turn, only) = (Turn::default(), [generation(100)]);
        assert!(Turn::is_due(&[], 100, TERMS) && !Turn::is_due(&only, 100, TERMS));
        assert_eq!(turn.serve(&only, 100, TERMS).unwrap().created, 100);
    }

    #[test]
    fn a_new_one_is_served_only_when_it_was_trusted_long_enough_and_the_old_one_goes_after_that() {
        let mut turn = Turn::default();
        let start = 100 + TERMS.renew();
        let both = [generation(100), generation(start)];
        assert!(Turn::is_due(&both[..1], start, TERMS));
        turn.see(&both, &both[0].authority, start);
        assert_eq!(turn.serve(&both, start, TERMS).unwrap().created, 100);
        // The configuration cannot be written for an hour.
        let written = start + 3600;
        turn.see(&both, &both[0].authority, written);
        assert_eq!(turn.serve(&both, written, TERMS).unwrap().created, 100);
        turn.see(&both, &bundle(&both), written);
        for (now, served, kept) in [
            (written + TERMS.settle() - 1, 100, 2),
            (written + TERMS.settle(), start, 2),
            (written + 3 * TERMS.settle() - 1, start, 2),
            (written + 3 * TERMS.settle(), start, 1),
        ] {
            turn.see(&both, &bundle(&both), now);
            assert_eq!(turn.serve(&both, now, TERMS).unwrap().created, served, "at {now}");
            assert_eq!(turn.needed(&both, now, TERMS).len(), kept, "at {now}");
        }
    }

    #[test]
    fn trust_that_was_taken_away_begins_anew() {
        let mut turn = Turn::default();
        let both = [generation(100), generation(200)];
        turn.see(&both, &bundle(&both), 200);
        turn.see(&both, &both[0].authority, 500);
        turn.see(&both, &bundle(&both), 600);
        assert_eq!(turn.serve(&both, 200 + TERMS.settle(), TERMS).unwrap().created, 100);
        assert_eq!(turn.serve(&both, 600 + TERMS.settle(), TERMS).unwrap().created, 200);
    }

    #[test]
    fn one_that_ended_is_not_served_even_if_nothing_else_is_trusted_yet() {
        let mut turn = Turn::default();
        let both = [generation(100), generation(100 + TERMS.renew())];
        turn.see(&both, &both[0].authority, 200);
        let after = both[0].not_after;
        assert_eq!(turn.serve(&both, after, TERMS).unwrap().created, both[1].created);
        assert_eq!(turn.needed(&both, after, TERMS).len(), 1);
    }

    #[test]
    fn a_controller_that_starts_in_between_serves_what_all_trust() {
        let mut turn = Turn::default();
        let both = [generation(100), generation(200)];
        turn.see(&both, &bundle(&both), 300);
        assert_eq!(turn.serve(&both, 300, TERMS).unwrap().created, 100);
        assert_eq!(turn.needed(&both, 300, TERMS).len(), 2);
    }
}
