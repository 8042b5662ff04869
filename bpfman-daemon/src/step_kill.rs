//! Debug builds only: kills the daemon with SIGKILL at a chosen step boundary, so that tests can try every one.
//!
//! `BPFMAN_TEST_KILL_AT=N` kills before the N-th step, counted from 1 when the daemon begins to serve;
//! `BPFMAN_TEST_STEPS=FILE` writes a line per step; `BPFMAN_TEST_KILL_POLICY=copied` kills between the copy of a new
//! policy and its use; `BPFMAN_TEST_HOLD=FILE` blocks every attach, with its locks, while the file exists. Steps of
//! interface events and of checks of hooks are not counted, since their timing varies: the same request has the same
//! numbers every time.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bpfmand_engine::StepObserver;

pub struct StepKill {
    armed: AtomicBool,
    seen: AtomicUsize,
    kill_at: Option<usize>,
    list: Option<Mutex<File>>,
    hold: Option<PathBuf>,
}

impl StepKill {
    pub fn from_environment() -> Self {
        Self {
            armed: AtomicBool::new(false),
            seen: AtomicUsize::new(0),
            kill_at: std::env::var("BPFMAN_TEST_KILL_AT").ok().and_then(|number| number.parse().ok()),
            list: std::env::var_os("BPFMAN_TEST_STEPS")
                .and_then(|path| File::create(path).ok())
                .map(Mutex::new),
            hold: std::env::var_os("BPFMAN_TEST_HOLD").map(PathBuf::from),
        }
    }

    /// Starts to count steps. It is called after recovery, whose steps do not count.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }
}

pub fn at_policy(step: &str) {
    if std::env::var_os("BPFMAN_TEST_KILL_POLICY").is_some_and(|wanted| wanted == step) {
        let _dead = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
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
        while operation == "attach" && self.hold.as_ref().is_some_and(|file| file.exists()) {
            std::thread::sleep(Duration::from_millis(2));
        }
        if self.kill_at == Some(number) {
            let _dead =
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}
