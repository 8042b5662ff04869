//! Who did something: what the kernel told of the process, and what `/proc` says while it is there.

use std::collections::HashMap;

use bpfmand_core::GroupPath;
use bpfmand_journal::StrangerActor;
use bpfmand_kernel::linux::{ProcessGroups, ProcessStart, process_facts};

use super::event::RadarEvent;

/// Control groups whose paths are remembered.
const MOST_GROUPS: usize = 1024;

/// Finds out who did something.
#[derive(Debug, Default)]
pub struct Identification {
    /// Paths of control groups by their ids, for processes that are gone: others of their group may have been seen.
    groups: HashMap<u64, GroupPath>,
}

impl Identification {
    /// The process of an event.
    pub fn who(&mut self, event: &RadarEvent) -> StrangerActor {
        // Where nobody told when it began, only a process that was there before the call is the one that made
        // it.
        let start = match event.began {
            0 => ProcessStart::Before(event.time),
            began => ProcessStart::At(began),
        };
        let facts = process_facts(event.process, start);
        let gone = facts.is_none();
        let (executable, groups) = facts.map(|facts| (facts.executable, facts.groups)).unwrap_or_default();
        let ProcessGroups { best: mut group, unified } = ProcessGroups::of(&groups);
        if let Some(path) = unified.filter(|_| event.group != 0) {
            if self.groups.len() >= MOST_GROUPS {
                self.groups.clear();
            }
            self.groups.insert(event.group, path);
        }
        if gone {
            group = self.groups.get(&event.group).cloned();
        }
        let group = group.unwrap_or_default();
        StrangerActor {
            uid: event.user,
            gid: event.user_group,
            pid: event.process,
            command: event.command.clone(),
            executable: executable.unwrap_or_default(),
            unit: group.unit().unwrap_or_default().to_owned(),
            pod: group.pod().unwrap_or_default().to_owned(),
            container: group.container().unwrap_or_default().to_owned(),
            cgroup: group.as_str().to_owned(),
            gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::kind;
    use super::super::event::tests::record;
    use super::*;

    #[test]
    fn who_is_there_is_looked_at_and_who_is_gone_has_the_group_of_others() {
        let mut identification = Identification::default();
        let event = |process| RadarEvent {
            // Later than this process began; the record is of the first second after boot.
            time: u64::MAX,
            ..RadarEvent::parse(&record(process, kind::PROG_LOAD, 0, b"x")).unwrap()
        };
        let here = identification.who(&event(std::process::id()));
        let own = std::env::current_exe().unwrap().display().to_string();
        assert_eq!((here.executable.as_str(), here.gone, here.uid), (own.as_str(), false, 1000));
        let gone = identification.who(&event(u32::MAX));
        assert_eq!((gone.gone, gone.command.as_str(), gone.executable.as_str()), (true, "x", ""));
        // A process that has the number now, and began after the call.
        let other = identification.who(&RadarEvent { time: 1, ..event(std::process::id()) });
        assert_eq!((other.gone, other.executable.as_str()), (true, ""));
    }
}
