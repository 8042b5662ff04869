//! Processing of observations: identification of the process, and detection of changes to the daemon's objects.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use bpfmand_journal::{DaemonPart, EntryResult, HistoryEntry, ThirdPartyActor};
use bpfmand_kernel::{KernelHooks as _, KernelObjects as _};
use rustix::time::{ClockId, clock_gettime};

use super::activity::{ActivityKind, words};
use super::calibrate::FinalEvents;
use super::counts::CallDeltas;
use super::creators::ProcessDescriptors;
use super::event::{CallEnd, FloodCount, FloodKey, RadarEvent, kind};
use super::ids::ChangedId;
use super::tally::{ObservedActivity, TallyKey};
use super::watch::RadarWatch;

impl RadarWatch {
    pub(super) fn see(&mut self, event: &RadarEvent) {
        if self.at_work.as_ref().is_some_and(|at_work| at_work.own == event.process) {
            self.standing.lock().own += 1;
            return;
        }
        let Some(mut act) = ActivityKind::of(event.kind, event.descriptor) else { return };
        let mut hook = None;
        if act.may_touch() {
            if let Err(error) = self.ours.refresh(&self.parts.engine) {
                tracing::warn!(%error, "it is unknown what of ours others touch");
            }
            hook = self.ours.touched_by(event).cloned();
        }
        let error = match event.result {
            CallEnd::Refused(error) => error,
            CallEnd::Done | CallEnd::Unknown => 0,
        };
        if hook.is_some() && error == 0 {
            act = ActivityKind::Touch;
        }
        let owners = hook.iter().flat_map(|place| &place.owners).map(ToString::to_string).collect();
        let key = TallyKey {
            act,
            error,
            user: event.user,
            process: event.process,
            began: event.began,
            command: event.command.clone(),
            hook: hook.map(|place| place.name),
        };
        let time = wall_clock(event.time);
        let text = match act {
            ActivityKind::Touch => format!("{}: {}", in_words(event), words(event)),
            _ => words(event),
        };
        let sighting = ObservedActivity {
            count: 1,
            first: time,
            last: time,
            words: Some(text),
            program: event.program,
            link: event.link,
            owners,
        };
        let makes = event.result == CallEnd::Done
            && matches!(event.kind, kind::PROG_LOAD | kind::LINK_CREATE | kind::RAW_TRACEPOINT_OPEN);
        let identification = &mut self.identification;
        let who = self.tallies.add(key, sighting, || Some(identification.who(event)));
        if let Some(who) = who.filter(|_| makes) {
            let loaded = if event.kind == kind::PROG_LOAD { event.program } else { 0 };
            let ids = |id: u32| if id == 0 { Vec::new() } else { vec![id] };
            let mut report = self.standing.lock();
            if report.is_full() {
                let kernel = &self.parts.kernel;
                // If the kernel cannot list them, `remember` drops the oldest.
                if let (Ok(programs), Ok(links)) = (kernel.program_ids(), kernel.link_ids()) {
                    let programs = programs.into_iter().map(|id| id.0).collect();
                    report.make_room(&programs, &links.into_iter().map(|id| id.0).collect());
                }
            }
            report.remember(who, &ids(loaded), &ids(event.link));
        }
    }

    pub(super) fn flood(&mut self, key: FloodKey, count: FloodCount) {
        let is_own = self.at_work.as_ref().is_some_and(|at_work| at_work.own == key.process);
        {
            let mut report = self.standing.lock();
            if is_own { report.own += count.count } else { report.aggregated += count.count }
        }
        let Some(act) = ActivityKind::of(key.kind, 0).filter(|_| !is_own) else { return };
        let first = first_call(&key, count);
        let FloodKey { process, user, error, command, .. } = key;
        let key = TallyKey { act, error, user, process, began: 0, command, hook: None };
        let sighting = ObservedActivity {
            count: count.count,
            first: wall_clock(count.first),
            last: wall_clock(count.last),
            words: None,
            program: 0,
            link: 0,
            owners: BTreeSet::new(),
        };
        let identification = &mut self.identification;
        self.tallies.add(key, sighting, || Some(identification.who(&first)));
    }

    pub(super) fn counted(&mut self, news: CallDeltas) {
        for (key, count) in news.floods {
            self.flood(key, count);
        }
        if news.lost == 0 {
            return;
        }
        self.standing.lock().lost += news.lost;
        let text = format!(
            "{} calls came too fast: it is unknown who made them, what they were, or whether something of \
             bpfman was touched",
            news.lost
        );
        self.note_lost(news.lost, &text);
    }

    pub(super) fn came_and_went(&self, programs: u64) {
        if programs == 0 {
            return;
        }
        self.standing.lock().lost += programs;
        let text = format!(
            "{programs} programs came and went between two looks: it is unknown whose they were; those that bpfman tries \
             are among them"
        );
        self.note_lost(programs, &text);
    }

    fn note_lost(&self, count: u64, text: &str) {
        let entry = HistoryEntry::of_daemon(DaemonPart::Radar, "Lost", text);
        self.parts.journal.record(HistoryEntry { count, ..entry }, None);
    }

    pub(super) fn unproven(&mut self, last: FinalEvents) {
        for event in &last.early {
            self.see(event);
        }
        for news in last.news {
            self.counted(news);
        }
        let text = "programs of the radar did not show a map that this daemon made, and are unloaded: what \
                    they saw is reported, calls of this daemon among it, and what they did not see is unknown";
        tracing::warn!("{text}");
        self.note("Lost", text.to_owned(), EntryResult::Done);
    }

    pub(super) fn changed(&mut self, changed: Vec<ChangedId>) {
        let polls = self.at_work.is_none();
        let mut makers = ProcessDescriptors::of_kernel(&self.parts.kernel);
        for what in changed {
            if what.came && !polls {
                continue;
            }
            let who = what.came.then(|| {
                let maker = makers.maker(&what);
                ThirdPartyActor {
                    uid: what.user,
                    pid: maker.map_or(0, |maker| maker.pid),
                    command: maker.map(|maker| maker.command.clone()).unwrap_or_default(),
                    unit: maker.and_then(|maker| maker.unit.clone()).unwrap_or_default(),
                    gone: maker.is_none(),
                    ..ThirdPartyActor::default()
                }
            });
            let ChangedId { program, link, words, user, came } = what;
            let act = match (came, link) {
                (false, _) => ActivityKind::Gone,
                (true, 0) => ActivityKind::Load,
                (true, _) => ActivityKind::Link,
            };
            let process = who.as_ref().map_or(0, |who| who.pid);
            let key = TallyKey { act, error: 0, user, process, began: 0, command: String::new(), hook: None };
            let now = SystemTime::now();
            let owners = BTreeSet::new();
            let sighting = ObservedActivity {
                count: 1,
                first: now,
                last: now,
                words: Some(words),
                program,
                link,
                owners,
            };
            self.tallies.add(key, sighting, || who);
        }
    }
}

/// Returns a flood's first call. Its process start is unknown: a process of the id must exist by then.
fn first_call(key: &FloodKey, count: FloodCount) -> RadarEvent {
    RadarEvent {
        time: count.first,
        began: 0,
        group: 0,
        process: key.process,
        user: key.user,
        user_group: 0,
        kind: key.kind,
        result: CallEnd::Done,
        program: 0,
        map: 0,
        link: 0,
        object_type: 0,
        attach_type: 0,
        target: 0,
        netns: 0,
        descriptor: 0,
        command: key.command.clone(),
        name: String::new(),
        tag: [0; 8],
        path: String::new(),
    }
}

const fn in_words(event: &RadarEvent) -> &'static str {
    match event.kind {
        kind::LINK_UPDATE => "another program in our link",
        kind::LINK_DETACH => "our link detached by force",
        kind::LINK_CREATE => "a link beside ours",
        kind::PROG_ATTACH => "a program beside ours",
        kind::PROG_DETACH => "a program beside ours detached",
        kind::UNLINK => "our pin removed",
        kind::XDP_BY_NETLINK => "XDP set by netlink",
        kind::TC_FILTER => "a filter beside ours",
        _ => "a filter removed",
    }
}

/// Converts the kernel's monotonic time to wall clock time.
fn wall_clock(nanoseconds: u64) -> SystemTime {
    let now = clock_gettime(ClockId::Monotonic);
    let now = Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default());
    SystemTime::now() - now.saturating_sub(Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::super::identification::Identification;
    use super::*;

    #[test]
    fn flooding_process_is_inspected_only_if_it_predates_its_calls() {
        let key = FloodKey {
            process: std::process::id(),
            user: 1000,
            kind: kind::PROG_LOAD,
            error: 0,
            command: "flood".to_owned(),
        };
        let who = |first| {
            let count = FloodCount { count: 9, first, last: u64::MAX };
            Identification::default().who(&first_call(&key, count))
        };
        let same = who(u64::MAX);
        let own = std::env::current_exe().unwrap().display().to_string();
        assert_eq!((same.executable, same.gone, same.uid), (own, false, 1000));
        // This process started after the call, so another one made it.
        let other = who(1);
        assert_eq!((other.executable.as_str(), other.unit.as_str(), other.gone), ("", "", true));
        assert_eq!((other.command.as_str(), other.pid, other.uid), ("flood", key.process, 1000));
    }
}
