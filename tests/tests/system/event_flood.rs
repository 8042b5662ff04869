//! Many events: the audit log's files and the daemon's memory stay bounded, and each reader gets each number once, or
//! learns that it missed it. Continuous integration makes five thousand events, `make million-events` a million.

use std::process::Child;
use std::sync::{Arc, Mutex};

use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::events::{follow, refused};
use crate::limits::memory;

const EVENTS: &str = "EVENTS";
const CALLERS: u64 = 4;
const MIB: u64 = 16;
const MAX_GROWTH: u64 = 32 << 20;

#[derive(Clone, Debug, Default)]
struct Seen {
    last: u64,
    entries: u64,
    missed: u64,
    wrong: Option<String>,
}

struct Reader {
    process: Child,
    seen: Arc<Mutex<Seen>>,
}

impl Reader {
    fn after(daemon: &Daemon, last: u64) -> Self {
        let seen = Arc::new(Mutex::new(Seen { last, ..Seen::default() }));
        let into = Arc::clone(&seen);
        let process =
            follow(daemon, &format!("--after {last}"), move |event| into.lock().unwrap().take(&event));
        Self { process, seen }
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    fn until_all(&self, name: &str, events: u64) -> Seen {
        until(&format!("the reader {name} has number {events}"), || {
            let seen = self.seen();
            seen.wrong.is_some() || seen.last == events
        });
        let seen = self.seen();
        assert_eq!(seen.wrong, None, "{name}");
        eprintln!("{name}: {} entries, {} told as missed", seen.entries, seen.missed);
        seen
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

impl Seen {
    fn take(&mut self, event: &Value) {
        let number = |field: &str| event[field].as_u64();
        let (first, last) = match number("number") {
            Some(number) => (number, number),
            None => (number("first").unwrap_or_default(), number("last").unwrap_or_default()),
        };
        if first != self.last + 1 || last < first {
            self.wrong.get_or_insert_with(|| format!("after {}: {event}", self.last));
        }
        let count = (last + 1).saturating_sub(first);
        if event["event"] == "entry" {
            self.entries += count
        } else {
            self.missed += count
        }
        self.last = last;
    }
}

fn on_disk(daemon: &Daemon) -> u64 {
    let files = std::fs::read_dir(daemon.path("run/state/journal")).unwrap();
    // The oldest file may be removed meanwhile.
    files.filter_map(|file| file.unwrap().metadata().ok()).map(|file| file.len()).sum()
}

#[test]
fn events_have_unique_numbers_and_disk_and_memory_are_bounded() {
    let events: u64 = std::env::var(EVENTS).map_or(5_000, |events| events.parse().unwrap());
    // More entries than a page of a response has.
    let kept = (events / 20).max(1_000);
    let config = format!("[journal]\nmib = {MIB}\nentries = {kept}\n");
    let daemon = Daemon::start_with(&Launch { config, ..Launch::default() });
    let (follower, silent) = (Reader::after(&daemon, 0), Reader::after(&daemon, 0));
    refused(&daemon.wire(), 1_000_000);
    until("both follow", || [&follower, &silent].iter().all(|one| one.seen().last == 1));
    silent.signal(Signal::STOP);
    let before = memory(&daemon, "VmRSS");
    let of_each = |caller: u64| (events - 1) / CALLERS + u64::from(caller < (events - 1) % CALLERS);
    let most_on_disk = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let daemon = &daemon;
                scope.spawn(move || {
                    let (wire, mut most) = (daemon.wire(), 0);
                    for call in 0..of_each(caller) {
                        refused(&wire, 1_000_000);
                        if call % 500 == 0 {
                            most = most.max(on_disk(daemon));
                        }
                    }
                    most
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).max().unwrap()
    });
    let held = memory(&daemon, "VmHWM").saturating_sub(before) as u64;
    eprintln!(
        "{events} events: at most {} KiB on disk, and {} KiB of memory more than {} KiB before",
        most_on_disk >> 10,
        held >> 10,
        before >> 10
    );
    assert!(most_on_disk <= MIB << 20, "{most_on_disk} bytes on disk");
    assert!(held < MAX_GROWTH, "the daemon held {} MiB more", held >> 20);
    let follower = follower.until_all("that follows", events);
    assert_eq!(follower.entries + follower.missed, events, "{follower:?}");
    let late = Reader::after(&daemon, 1).until_all("that comes late", events);
    assert!(late.entries <= kept && late.missed > 0 && late.entries + late.missed == events - 1, "{late:?}");
    let there = daemon.bpfman("events -q").success().lines().count() as u64;
    assert_eq!(there, late.entries, "all that is kept");
    silent.signal(Signal::CONT);
    let silent = silent.until_all("that read nothing", events);
    assert!(silent.missed > 0 && silent.entries + silent.missed == events, "{silent:?}");
}
