//! Debug builds only: ends the daemon with SIGKILL at a chosen step boundary, so that tests can try every one.
//!
//! `BPFMAN_TEST_KILL_AT=N` kills before the N-th step, counted from 1 since the daemon serves;
//! `BPFMAN_TEST_STEPS=FILE` gets a line for every step. Looks at interfaces and hooks, which come when they like, do not
//! count: the same request has the same numbers every time.

use std::fs::File;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bpfmand_engine::StepObserver;

/// Counts steps, and kills at one.
pub struct StepKill {
    armed: AtomicBool,
    seen: AtomicUsize,
    kill_at: Option<usize>,
    list: Option<Mutex<File>>,
}

impl StepKill {
    /// Reads both variables.
    pub fn from_environment() -> Self {
        Self {
            armed: AtomicBool::new(false),
            seen: AtomicUsize::new(0),
            kill_at: std::env::var("BPFMAN_TEST_KILL_AT").ok().and_then(|number| number.parse().ok()),
            list: std::env::var_os("BPFMAN_TEST_STEPS")
                .and_then(|path| File::create(path).ok())
                .map(Mutex::new),
        }
    }

    /// From now on steps count: those of recovery do not.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }
}

impl StepObserver for StepKill {
    fn before(&self, operation: &'static str, step: &'static str) {
        if !self.armed.load(Ordering::SeqCst) || matches!(operation, "follow" | "check") {
            return;
        }
        let number = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(list) = &self.list
            && let Ok(mut list) = list.lock()
        {
            let _unread = writeln!(list, "{number} {operation}: {step}");
        }
        if self.kill_at == Some(number) {
            let _dead =
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}
