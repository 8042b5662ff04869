//! Waiting for something to become true.

use std::collections::HashMap;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take that a test waits for: the one place for patience. Generous: emulated machines are ten times
/// slower than real ones, and so is one that has to share its processors. No test takes this long unless it fails.
/// Shorter than the three minutes after which nextest ends a test that says nothing.
pub const DEADLINE: Duration = Duration::from_secs(150);
/// How long a wait whose processes were ended may still last.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// Waits until a condition holds.
///
/// # Panics
/// It does not hold by the deadline.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    loop {
        let began = Instant::now();
        if holds() {
            return;
        }
        assert!(Instant::now() < end, "after {DEADLINE:?} still not true: {what}");
        // A look may start a client, a tenth of a second on an emulated machine: what is waited for gets as much time.
        std::thread::sleep(began.elapsed().clamp(Duration::from_millis(2), Duration::from_secs(1)));
    }
}

/// Does something that the kernel may block for ever: waits for a process, or reads what one says.
///
/// After the deadline all processes that this test has started are ended, so that their pipes close, which ends the wait.
///
/// # Panics
/// It was not done by the deadline. Where the wait does not end even then, the test's process is aborted.
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

/// Processes that a process has started, and those that these have started.
fn descendants(process: u32) -> Vec<Pid> {
    let mut children = HashMap::<u32, Vec<u32>>::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // Behind the name, which may hold anything: the state, then the parent.
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
