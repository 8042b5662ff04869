//! Third-party activity, aggregated until the audit log has capacity. No process displaces another one's entries.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant, SystemTime};

use bpfmand_journal::{
    DaemonPart, EntryActor, EntryFailure, EntryResult, HistoryEntry, Journal, ThirdPartyActor,
};

use super::activity::ActivityKind;

/// Interval in which activity of a process is combined; its first activity is recorded at once.
const TOGETHER: Duration = Duration::from_millis(20);
/// Delay before entries are offered to a full audit log again.
const FULL: Duration = Duration::from_millis(100);
/// Maximum number of pending processes and kinds that are listed separately.
const MAX_SEPARATE: usize = 256;
/// Processes of one user that are listed separately even when other users have filled `MAX_SEPARATE`.
const MIN_APART: usize = 16;
/// Maximum number of descriptions in one entry; further ones are counted.
const MAX_DESCRIPTIONS: usize = 8;
const MAX_IDS: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TallyKey {
    pub act: ActivityKind,
    /// Errno; 0 on success.
    pub error: i32,
    pub user: u32,
    /// Process id; 0 for several processes.
    pub process: u32,
    /// Start of the process; 0 if unknown.
    pub began: u64,
    pub command: String,
    pub hook: Option<String>,
}

#[derive(Clone, Debug)]
pub struct ObservedActivity {
    pub count: u64,
    pub first: SystemTime,
    pub last: SystemTime,
    /// Description; `None` if only the kind is known.
    pub words: Option<String>,
    pub program: u32,
    pub link: u32,
    pub owners: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Tally {
    who: Option<ThirdPartyActor>,
    due: Instant,
    count: u64,
    first: SystemTime,
    last: SystemTime,
    words: Vec<String>,
    programs: Vec<u32>,
    links: Vec<u32>,
    owners: BTreeSet<String>,
}

#[derive(Debug, Default)]
pub struct Tallies {
    waiting: BTreeMap<TallyKey, Tally>,
    /// Keys recorded within the last interval, with their times: more of the same waits.
    told: BTreeMap<TallyKey, Instant>,
    full: Option<Instant>,
}

#[derive(Clone, Debug)]
pub struct ReportedActivity {
    pub key: TallyKey,
    pub object: String,
}

impl Tallies {
    pub fn add(
        &mut self,
        mut key: TallyKey,
        seen: ObservedActivity,
        who: impl FnOnce() -> Option<ThirdPartyActor>,
    ) -> Option<&ThirdPartyActor> {
        let mut several = false;
        if !self.waiting.contains_key(&key) && self.is_crowded_for(key.user) {
            (key.process, key.began, several) = (0, 0, true);
            key.command.clear();
        }
        let due = self.due(&key, Instant::now());
        let known = self.waiting.entry(key);
        let tally = known.or_insert_with_key(|key| {
            let anybody = || ThirdPartyActor { uid: key.user, ..ThirdPartyActor::default() };
            let who = if several { Some(anybody()) } else { who() };
            Tally {
                who,
                due,
                count: 0,
                first: seen.first,
                last: seen.last,
                words: Vec::new(),
                programs: Vec::new(),
                links: Vec::new(),
                owners: BTreeSet::new(),
            }
        });
        tally.count += seen.count;
        (tally.first, tally.last) = (tally.first.min(seen.first), tally.last.max(seen.last));
        if tally.words.len() < MAX_DESCRIPTIONS {
            tally.words.extend(seen.words.filter(|words| !tally.words.contains(words)));
        }
        tally.owners.extend(seen.owners);
        for (ids, id) in [(&mut tally.programs, seen.program), (&mut tally.links, seen.link)] {
            if id != 0 && ids.len() < MAX_IDS && !ids.contains(&id) {
                ids.push(id);
            }
        }
        tally.who.as_ref()
    }

    fn is_crowded_for(&self, user: u32) -> bool {
        let of_user = || self.waiting.keys().filter(|key| key.user == user).count();
        match self.waiting.len() {
            waiting if waiting < MAX_SEPARATE => false,
            waiting => waiting >= 2 * MAX_SEPARATE || of_user() >= MIN_APART,
        }
    }

    /// Returns the time at which a key is recorded: at once, unless it, or too many others, were recorded a moment ago.
    fn due(&self, key: &TallyKey, now: Instant) -> Instant {
        match self.told.get(key) {
            Some(told) => *told + TOGETHER,
            None if self.told.len() >= MAX_SEPARATE => now + TOGETHER,
            None => now,
        }
    }

    pub fn next(&self) -> Option<Duration> {
        let now = Instant::now();
        let waits = self.waiting.values().map(|tally| tally.due.saturating_duration_since(now));
        // Do not offer entries to a full audit log all the time.
        let full = self.full.map_or(Duration::ZERO, |full| FULL.saturating_sub(full.elapsed()));
        waits.min().map(|wait| wait.max(full))
    }

    /// Records the entries that are due and for which the audit log has capacity, or with `all` every entry.
    pub fn tell(&mut self, journal: &Journal, all: bool) -> Vec<ReportedActivity> {
        let now = Instant::now();
        self.told.retain(|_, told| now.saturating_duration_since(*told) < TOGETHER);
        let mut ready: Vec<(bool, Instant, TallyKey)> = self
            .waiting
            .iter()
            .filter(|(_, tally)| all || tally.due <= now)
            .map(|(key, tally)| (key.act != ActivityKind::Touch, tally.due, key.clone()))
            .collect();
        // Changes to the daemon's objects first, then the longest pending.
        ready.sort();
        let mut told = Vec::new();
        for (_, _, key) in ready {
            if !all && !journal.may_record_third_party(key.user) {
                self.full = Some(Instant::now());
                continue;
            }
            let Some(tally) = self.waiting.remove(&key) else { continue };
            let entry = tally.entry(&key);
            if self.told.len() < MAX_SEPARATE {
                self.told.insert(key.clone(), now);
            }
            told.push(ReportedActivity { key, object: entry.object.clone() });
            journal.record(entry, None);
        }
        told
    }
}

impl Tally {
    fn entry(self, key: &TallyKey) -> HistoryEntry {
        let listed = self.words.len() as u64;
        let object = match (listed, self.count) {
            // The target of calls that found the ring buffer full is unknown.
            (0, count) if key.act.may_touch() && key.error == 0 => {
                let what = key.act.in_general();
                format!("{count} times: {what}; it is unknown whether something of bpfman was touched")
            }
            (0, count) => format!("{count} times: {}", key.act.in_general()),
            (_, count) if count > listed => {
                format!("{}; {} more of these", self.words.join("; "), count - listed)
            }
            _ => self.words.join("; "),
        };
        let result = match key.error {
            0 => EntryResult::Done,
            error => EntryResult::Failed(EntryFailure {
                code: "Aborted".to_owned(),
                reason: "kernel-refused".to_owned(),
                message: io::Error::from_raw_os_error(error).to_string(),
            }),
        };
        // The time of an entry that is recorded at once is the entry's own.
        let waited = SystemTime::now().duration_since(self.first).unwrap_or_default();
        let is_plain = self.count == 1 && waited < Duration::from_secs(1);
        let time = |time| humantime::format_rfc3339_micros(time).to_string();
        HistoryEntry {
            by: self.who.map_or(EntryActor::Daemon(DaemonPart::Radar), EntryActor::Stranger),
            verb: key.act.verb().to_owned(),
            object,
            programs: self.programs,
            links: self.links,
            hooks: key.hook.iter().cloned().collect(),
            owners: self.owners.into_iter().collect(),
            result,
            count: if is_plain { 0 } else { self.count },
            first: if is_plain { String::new() } else { time(self.first) },
            after: if self.count > 1 { format!("last at {}", time(self.last)) } else { String::new() },
            ..HistoryEntry::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(process: u32, user: u32) -> TallyKey {
        TallyKey {
            act: ActivityKind::Load,
            error: 0,
            user,
            process,
            began: 0,
            command: "flood".to_owned(),
            hook: None,
        }
    }

    fn once(program: u32) -> ObservedActivity {
        let now = SystemTime::now();
        let words = Some(format!("program {program}"));
        ObservedActivity { count: 1, first: now, last: now, words, program, link: 0, owners: BTreeSet::new() }
    }

    #[test]
    fn actions_of_one_process_are_one_counted_entry() {
        let mut tallies = Tallies::default();
        for program in 1..=20 {
            tallies.add(key(5, 0), once(program), || Some(ThirdPartyActor::default()));
        }
        let tally = tallies.waiting.remove(&key(5, 0)).unwrap();
        let entry = tally.entry(&key(5, 0));
        assert_eq!((entry.count, entry.programs.len(), entry.verb.as_str()), (20, 20, "SeenLoad"));
        assert!(entry.object.ends_with("program 8; 12 more of these"), "{}", entry.object);
        assert!(!entry.first.is_empty());
    }

    #[test]
    fn calls_known_only_by_kind_may_have_touched_our_objects() {
        let told = |act, error| {
            let key = TallyKey { act, error, ..key(5, 0) };
            let mut tallies = Tallies::default();
            let unseen = ObservedActivity { count: 9, words: None, ..once(0) };
            tallies.add(key.clone(), unseen, || None);
            tallies.waiting.remove(&key).unwrap().entry(&key).object
        };
        assert_eq!(told(ActivityKind::Load, 0), "9 times: programs");
        let touched = "9 times: links; it is unknown whether something of bpfman was touched";
        assert_eq!(told(ActivityKind::Link, 0), touched);
        // A refused call affected nothing.
        assert_eq!(told(ActivityKind::Link, 1), "9 times: links");
    }

    #[test]
    fn many_processes_use_bounded_memory_and_none_is_forgotten() {
        let (mut tallies, journal) = (Tallies::default(), Journal::default());
        for process in 1..=10_000 {
            tallies.add(key(process, process % 3), once(process), || None);
        }
        assert!(tallies.waiting.len() <= MAX_SEPARATE + 3, "{}", tallies.waiting.len());
        assert_eq!(tallies.waiting.values().map(|tally| tally.count).sum::<u64>(), 10_000);
        assert!(tallies.next().is_some());
        let told = tallies.tell(&journal, false).len();
        assert!(told <= MAX_SEPARATE + 3, "{told}");
        tallies.tell(&journal, true);
        assert!(tallies.waiting.is_empty() && tallies.next().is_none());
    }

    #[test]
    fn user_with_few_processes_is_listed_separately() {
        let (mut tallies, journal) = (Tallies::default(), Journal::default());
        while journal.may_record_third_party(0) {}
        for process in 1..=1000 {
            tallies.add(key(process, 0), once(process), || None);
        }
        tallies.add(key(5000, 1000), once(1), || None);
        let told = tallies.tell(&journal, false);
        let who: Vec<_> = told.iter().map(|told| (told.key.user, told.key.process)).collect();
        assert_eq!(who, [(1000, 5000)]);
    }

    #[test]
    fn user_over_the_limit_waits_and_others_are_written() {
        let (mut tallies, journal) = (Tallies::default(), Journal::default());
        while journal.may_record_third_party(1000) {}
        for user in [1000, 2000] {
            tallies.add(key(5, user), once(1), || None);
        }
        let told = tallies.tell(&journal, false);
        assert_eq!(told.iter().map(|told| told.key.user).collect::<Vec<_>>(), [2000]);
        assert!(tallies.next().is_some_and(|wait| wait > Duration::ZERO), "it does not ask all the time");
    }

    #[test]
    fn first_event_is_reported_at_once_and_later_ones_in_batches() {
        let (mut tallies, journal) = (Tallies::default(), Journal::default());
        tallies.add(key(5, 0), once(1), || None);
        assert_eq!(tallies.next(), Some(Duration::ZERO));
        assert_eq!(tallies.tell(&journal, false).len(), 1);
        for program in 2..=9 {
            tallies.add(key(5, 0), once(program), || None);
        }
        tallies.add(key(6, 0), once(10), || None);
        let told = tallies.tell(&journal, false);
        assert_eq!(told.iter().map(|told| told.key.process).collect::<Vec<_>>(), [6]);
        let wait = tallies.next().unwrap();
        assert!(wait > Duration::ZERO && wait <= TOGETHER, "{wait:?}");
        std::thread::sleep(wait);
        let told = tallies.tell(&journal, false);
        assert_eq!(told.len(), 1);
        assert!(told[0].object.contains("program 2; ") && told[0].object.contains("program 9"), "{told:?}");
    }

    #[test]
    fn processes_beyond_the_limit_wait() {
        let (mut tallies, journal) = (Tallies::default(), Journal::default());
        for process in 1..=MAX_SEPARATE as u32 {
            tallies.add(key(process, process), once(process), || None);
            tallies.tell(&journal, false);
        }
        let told = tallies.told.len();
        tallies.add(key(4000, 4000), once(1), || None);
        let wait = tallies.next().unwrap();
        // On a slow machine, the interval of the other keys may be over already.
        assert!(wait > Duration::ZERO || told < MAX_SEPARATE, "{told}");
    }
}
