//! Identification of processes, from the event and, while the process exists, from `/proc`.

use std::collections::HashMap;

use bpfman_model::{GroupPath, cgroup_of, unified_cgroup_of};
use bpfmand_journal::ThirdPartyActor;
use bpfmand_kernel::linux::{ProcessGroups, ProcessStart, process_facts};

use super::event::RadarEvent;

const MAX_GROUPS: usize = 1024;

#[derive(Debug, Default)]
pub struct Identification {
    /// Paths of cgroups by id. They also serve for processes that no longer exist.
    groups: HashMap<u64, GroupPath>,
}

impl Identification {
    /// Returns an event's cgroup. Owners of parent groups are read once, since a process may load often.
    fn group(&mut self, event: &RadarEvent, lines: &str) -> Option<GroupPath> {
        let path = unified_cgroup_of(lines);
        // If a version 1 hierarchy groups the processes, that path counts, and the id is of another hierarchy.
        let is_best = cgroup_of(lines) == path;
        let known = self.groups.get(&event.group).filter(|known| Some(known.as_str()) == path.as_deref());
        if let Some(known) = known.filter(|_| is_best) {
            return Some(known.clone());
        }
        let ProcessGroups { best, unified } = ProcessGroups::of(lines);
        if let Some(path) = unified.filter(|_| event.group != 0) {
            if self.groups.len() >= MAX_GROUPS {
                self.groups.clear();
            }
            self.groups.insert(event.group, path);
        }
        best
    }

    pub fn who(&mut self, event: &RadarEvent) -> ThirdPartyActor {
        // Without a known start time, only a process that existed before the call can be the caller.
        let start = match event.began {
            0 => ProcessStart::Before(event.time),
            began => ProcessStart::At(began),
        };
        let facts = process_facts(event.process, start);
        let gone = facts.is_none();
        let (executable, groups) = facts.map(|facts| (facts.executable, facts.groups)).unwrap_or_default();
        let group = if gone { self.groups.get(&event.group).cloned() } else { self.group(event, &groups) };
        let group = group.unwrap_or_default();
        ThirdPartyActor {
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
    fn living_process_is_inspected_and_a_dead_one_has_kernel_data() {
        let mut identification = Identification::default();
        let event = |process| RadarEvent {
            // After the start of this process; the record is of the first second after boot.
            time: u64::MAX,
            ..RadarEvent::parse(&record(process, kind::PROG_LOAD, 0, b"x")).unwrap()
        };
        let here = identification.who(&event(std::process::id()));
        let own = std::env::current_exe().unwrap().display().to_string();
        assert_eq!((here.executable.as_str(), here.gone, here.uid), (own.as_str(), false, 1000));
        let gone = identification.who(&event(u32::MAX));
        assert_eq!((gone.gone, gone.command.as_str(), gone.executable.as_str()), (true, "x", ""));
        // The process with this id started after the call.
        let other = identification.who(&RadarEvent { time: 1, ..event(std::process::id()) });
        assert_eq!((other.gone, other.executable.as_str()), (true, ""));
    }

    #[test]
    fn owners_of_a_known_group_are_not_read_again() {
        let mut identification = Identification::default();
        let event =
            RadarEvent { group: 7, ..RadarEvent::parse(&record(1, kind::PROG_LOAD, 0, b"x")).unwrap() };
        // The owner is cached, and no such cgroup exists.
        let known = GroupPath::new("/no-such.slice/a.service", 2, None);
        identification.groups.insert(7, known.clone());
        assert_eq!(identification.group(&event, "0::/no-such.slice/a.service\n"), Some(known.clone()));
        for lines in ["0::/no-such.slice/b.service\n", "1:name=systemd:/no-such.slice/a.service\n0::/a\n"] {
            let group = identification.group(&event, lines).unwrap();
            assert_ne!(group.unit(), known.unit(), "{lines}");
        }
    }
}
