//! Waiting for conditions.

use std::collections::HashMap;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Time limit of every wait in tests. No successful wait takes as long, even on emulated machines, which are
/// ten times slower. The limit is below the three minutes after which nextest terminates a silent test.
pub const DEADLINE: Duration = Duration::from_secs(150);
/// Time for which a wait may continue after its processes were killed.
const AFTERWARDS: Duration = Duration::from_secs(10);

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    loop {
        let began = Instant::now();
        if holds() {
            return;
        }
        assert!(Instant::now() < end, "after {DEADLINE:?} still not true: {what}");
        // Sleep as long as the check took: it may start a client, which takes 0.1 s on an emulated machine.
        std::thread::sleep(began.elapsed().clamp(Duration::from_millis(2), Duration::from_secs(1)));
    }
}

/// Runs a closure that may block forever. After the deadline all processes that this test has started are killed, which
/// closes their pipes and ends the wait; otherwise the test's process is aborted.
pub fn within<T>(what: &str, blocks: impl FnOnce() -> T) -> T {
    let (tell, done) = channel::<()>();
    let words = format!("after {DEADLINE:?} still waiting: {what}");
    let said = words.clone();
    let guard = std::thread::spawn(move || {
        let is_late = done.recv_timeout(DEADLINE) == Err(RecvTimeoutError::Timeout);
        if is_late {
            eprintln!("{said}; processes of this test are ended");
            descendants(std::process::id()).into_iter().for_each(|process| {
                let _gone = kill_process(process, Signal::KILL);
            });
            if done.recv_timeout(AFTERWARDS) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{said}; it goes on without them, and the test is aborted");
                std::process::abort();
            }
        }
        is_late
    });
    let value = blocks();
    drop(tell);
    assert!(!guard.join().unwrap(), "{words}");
    value
}

fn descendants(process: u32) -> Vec<Pid> {
    let mut children = HashMap::<u32, Vec<u32>>::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name may contain any character; the state and the parent follow it.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        children.entry(parent.unwrap_or_default()).or_default().push(pid);
    }
    let (mut found, mut ahead) = (Vec::new(), vec![process]);
    while let Some(parent) = ahead.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            ahead.push(child);
            found.extend(Pid::from_raw(child.cast_signed()));
        }
    }
    found
}
