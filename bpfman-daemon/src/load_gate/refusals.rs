//! Logging of denied loads, rate-limited: a denied process chooses how often it tries.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bpfmand_journal::{DaemonPart, EntryFailure, EntryResult, HistoryEntry, Journal};
use bpfmand_kernel::MapEntry;

use super::contents::{GateRefusals, refused};

/// Maximum number of audit entries per hour; the number of further ones is logged.
const MAX_PER_HOUR: u32 = 100;
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Default)]
pub struct ReportedDenials {
    counts: BTreeMap<Vec<u8>, u64>,
    hour: Option<Instant>,
    entries: u32,
}

impl ReportedDenials {
    pub fn tell(&mut self, journal: &Journal, entries: Vec<MapEntry>) {
        let mut counts = BTreeMap::new();
        let mut more = 0;
        for entry in entries {
            let Some(refusals) = refused(&entry) else { continue };
            let before = self.counts.get(&entry.key).copied().unwrap_or(0);
            counts.insert(entry.key, refusals.count);
            // A smaller count means that the kernel evicted the entry and created it again.
            let count = refusals.count.checked_sub(before).unwrap_or(refusals.count);
            match count {
                0 => {}
                _ if self.admits() => {
                    let refusals = GateRefusals { count, ..refusals };
                    tracing::warn!("the gate refused {refusals}");
                    let entry = HistoryEntry::of_daemon(DaemonPart::Gate, "Gate", &refusals.to_string());
                    journal.record(HistoryEntry { result: denied(), ..entry }, None);
                }
                count => more += count,
            }
        }
        if more > 0 {
            tracing::warn!("the gate refused {more} more, of whom the history has no entries in this hour");
        }
        self.counts = counts;
    }

    fn admits(&mut self) -> bool {
        if self.hour.is_none_or(|hour| hour.elapsed() >= HOUR) {
            (self.hour, self.entries) = (Some(Instant::now()), 0);
        }
        self.entries += 1;
        self.entries <= MAX_PER_HOUR
    }
}

fn denied() -> EntryResult {
    EntryResult::Denied(EntryFailure {
        code: "PermissionDenied".to_owned(),
        reason: "denied".to_owned(),
        message:
            "neither the daemon nor an exception of [gate]: load it through bpfman, or add its executable"
                .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: u32, count: u64) -> MapEntry {
        let key = [&[b'x'; 12][..], &name.to_ne_bytes(), &[0; 8]].concat();
        MapEntry { key, value: [&count.to_ne_bytes()[..], &[0; 8]].concat() }
    }

    #[test]
    fn repeated_refusals_have_a_limit_of_entries() {
        let (mut told, journal) = (ReportedDenials::default(), Journal::default());
        for turn in 1..=50 {
            told.tell(&journal, (0..10).map(|name| entry(name, turn)).collect());
        }
        assert_eq!(told.entries, 500, "asked for");
        assert!(!told.admits());
        told.hour = told.hour.and_then(|hour| hour.checked_sub(HOUR));
        assert!(told.admits());
    }

    #[test]
    fn equal_count_is_logged_once_and_dropped_ones_are_forgotten() {
        let (mut told, journal) = (ReportedDenials::default(), Journal::default());
        told.tell(&journal, vec![entry(1, 5)]);
        told.tell(&journal, vec![entry(1, 5)]);
        assert_eq!(told.entries, 1);
        told.tell(&journal, vec![entry(1, 2)]);
        assert_eq!(told.entries, 2);
        told.tell(&journal, Vec::new());
        assert!(told.counts.is_empty());
    }
}
