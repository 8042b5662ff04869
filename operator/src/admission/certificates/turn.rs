//! Rotation: which generation is served, when the next one is created, and when the last one is removed. Pure.
//!
//! Validity is compared with the API server's clock; durations are measured by this process's monotonic clock.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bpfman_runtime::certificate::{CertificateTerms, Generation};

/// Moment on two clocks.
#[derive(Clone, Copy, Debug)]
pub struct CertificateMoment {
    /// Clock of the API server, in seconds since 1970.
    pub server: u64,
    /// Monotonic clock of this process.
    pub own: Instant,
}

impl CertificateMoment {
    fn is_past(self, since: Instant, seconds: u64) -> bool {
        self.own.saturating_duration_since(since) >= Duration::from_secs(seconds)
    }
}

/// State of the rotation in this process.
#[derive(Debug, Default)]
pub struct CertificateRotation {
    trusted: BTreeMap<u64, Instant>,
    serving: Option<(u64, Instant)>,
}

impl CertificateRotation {
    /// Returns whether a new generation must be created, because none is valid for long enough.
    #[must_use]
    pub fn is_due(generations: &[Generation], now: CertificateMoment, terms: CertificateTerms) -> bool {
        let will_do = |one: &Generation| one.is_valid(now.server) && now.server < one.created + terms.renew();
        !generations.iter().any(will_do)
    }

    /// Records which generations the configuration trusts now.
    pub fn see(&mut self, generations: &[Generation], trusted: &str, now: CertificateMoment) {
        let is_trusted = |one: &&Generation| trusted.contains(one.authority.trim());
        let seen: Vec<u64> = generations.iter().filter(is_trusted).map(|one| one.created).collect();
        self.trusted.retain(|created, _| seen.contains(created));
        for created in seen {
            self.trusted.entry(created).or_insert(now.own);
        }
    }

    /// Returns the newest generation that was trusted long enough; else the current or oldest valid one.
    pub fn serve<'a>(
        &mut self,
        generations: &'a [Generation],
        now: CertificateMoment,
        terms: CertificateTerms,
    ) -> Option<&'a Generation> {
        let valid = || generations.iter().filter(|one| one.is_valid(now.server));
        let settled = |one: &&Generation| {
            self.trusted.get(&one.created).is_some_and(|since| now.is_past(*since, terms.settle()))
        };
        let newest = valid().filter(settled).max_by_key(|one| one.created);
        let current = self.serving.and_then(|(created, _)| valid().find(|one| one.created == created));
        let chosen = newest.or(current).or_else(|| valid().min_by_key(|one| one.created));
        let created = chosen?.created;
        if self.serving.is_none_or(|(before, _)| before != created) {
            self.serving = Some((created, now.own));
        }
        chosen
    }

    /// Returns the generations still needed: valid, and not older than one that all controllers serve by now.
    #[must_use]
    pub fn needed(
        &self,
        generations: &[Generation],
        now: CertificateMoment,
        terms: CertificateTerms,
    ) -> Vec<Generation> {
        let old = |one: &Generation| {
            self.serving
                .is_some_and(|(created, from)| one.created < created && now.is_past(from, 2 * terms.settle()))
        };
        generations.iter().filter(|one| one.is_valid(now.server) && !old(one)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::bundle;
    use super::*;

    /// One day: renewed after 16 hours, ten minutes to settle.
    const TERMS: CertificateTerms = CertificateTerms { seconds: 86_400 };

    fn at(seconds: u64) -> CertificateMoment {
        static ZERO: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        CertificateMoment { server: seconds, own: *ZERO + Duration::from_secs(seconds) }
    }

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
        let (mut turn, only) = (CertificateRotation::default(), [generation(100)]);
        assert!(
            CertificateRotation::is_due(&[], at(100), TERMS)
                && !CertificateRotation::is_due(&only, at(100), TERMS)
        );
        assert_eq!(turn.serve(&only, at(100), TERMS).unwrap().created, 100);
    }

    #[test]
    fn new_certificate_is_served_after_a_trust_period() {
        let mut turn = CertificateRotation::default();
        let start = 100 + TERMS.renew();
        let both = [generation(100), generation(start)];
        assert!(CertificateRotation::is_due(&both[..1], at(start), TERMS));
        turn.see(&both, &both[0].authority, at(start));
        assert_eq!(turn.serve(&both, at(start), TERMS).unwrap().created, 100);
        let written = start + 3600;
        turn.see(&both, &both[0].authority, at(written));
        assert_eq!(turn.serve(&both, at(written), TERMS).unwrap().created, 100);
        turn.see(&both, &bundle(&both), at(written));
        for (now, served, kept) in [
            (written + TERMS.settle() - 1, 100, 2),
            (written + TERMS.settle(), start, 2),
            (written + 3 * TERMS.settle() - 1, start, 2),
            (written + 3 * TERMS.settle(), start, 1),
        ] {
            turn.see(&both, &bundle(&both), at(now));
            assert_eq!(turn.serve(&both, at(now), TERMS).unwrap().created, served, "at {now}");
            assert_eq!(turn.needed(&both, at(now), TERMS).len(), kept, "at {now}");
        }
    }

    #[test]
    fn removed_trust_starts_again() {
        let mut turn = CertificateRotation::default();
        let both = [generation(100), generation(200)];
        turn.see(&both, &bundle(&both), at(200));
        turn.see(&both, &both[0].authority, at(500));
        turn.see(&both, &bundle(&both), at(600));
        assert_eq!(turn.serve(&both, at(200 + TERMS.settle()), TERMS).unwrap().created, 100);
        assert_eq!(turn.serve(&both, at(600 + TERMS.settle()), TERMS).unwrap().created, 200);
    }

    #[test]
    fn expired_certificate_is_not_served_even_without_a_trusted_one() {
        let mut turn = CertificateRotation::default();
        let both = [generation(100), generation(100 + TERMS.renew())];
        turn.see(&both, &both[0].authority, at(200));
        let after = both[0].not_after;
        assert_eq!(turn.serve(&both, at(after), TERMS).unwrap().created, both[1].created);
        assert_eq!(turn.needed(&both, at(after), TERMS).len(), 1);
    }

    #[test]
    fn a_controller_that_starts_in_between_serves_what_all_trust() {
        let mut turn = CertificateRotation::default();
        let both = [generation(100), generation(200)];
        turn.see(&both, &bundle(&both), at(300));
        assert_eq!(turn.serve(&both, at(300), TERMS).unwrap().created, 100);
        assert_eq!(turn.needed(&both, at(300), TERMS).len(), 2);
    }

    #[test]
    fn certificate_of_a_wrong_clock_is_replaced_after_correction() {
        let (mut turn, right) = (CertificateRotation::default(), 1_800_000_000);
        // A century ahead: the API server would refuse it until then.
        let ahead = [generation(right + 3_200_000_000)];
        assert!(CertificateRotation::is_due(&ahead, at(right), TERMS));
        assert!(turn.needed(&ahead, at(right), TERMS).is_empty());
        assert_eq!(turn.serve(&ahead, at(right), TERMS), None);
        let behind = [generation(0)];
        assert!(
            CertificateRotation::is_due(&behind, at(right), TERMS)
                && turn.needed(&behind, at(right), TERMS).is_empty()
        );
        // One hour ahead: it is valid already, since clocks differ.
        let near = [generation(right + 3_600)];
        assert!(!CertificateRotation::is_due(&near, at(right), TERMS));
        assert_eq!(turn.serve(&near, at(right), TERMS), Some(&near[0]));
    }

    #[test]
    fn a_clock_that_jumps_shortens_and_lengthens_nothing() {
        let mut turn = CertificateRotation::default();
        let start: u64 = 1_000_000;
        let both = [generation(start), generation(start + 200)];
        turn.see(&both, &bundle(&both), at(start + 200));
        let served = |turn: &mut CertificateRotation, ahead: i64, passed: u64| {
            let now = CertificateMoment {
                server: (start + 200 + passed).saturating_add_signed(ahead),
                ..at(start + 200 + passed)
            };
            (turn.serve(&both, now, TERMS).unwrap().created, turn.needed(&both, now, TERMS).len())
        };
        // Three hours ahead: other API servers have not had more time to update.
        assert_eq!(served(&mut turn, 10_800, 1), (start, 2));
        assert_eq!(served(&mut turn, -1_800, TERMS.settle()), (start + 200, 2));
        assert_eq!(served(&mut turn, -1_800, 3 * TERMS.settle()), (start + 200, 1));
    }
}
