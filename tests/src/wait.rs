//! Waiting for something to become true.

use std::time::{Duration, Instant};

/// How long anything may take that a test waits for: the one place for patience. Generous: emulated machines are ten times
/// slower than real ones, and so is one that has to share its processors. No test takes this long unless it fails.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// Waits until a condition holds.
///
/// # Panics
/// It does not hold by the deadline.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "after {DEADLINE:?} still not true: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
