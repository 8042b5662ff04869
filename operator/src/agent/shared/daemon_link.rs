//! How things stand with the daemon, as the stream from it says.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// After this time without it, state objects say so. A restart takes less.
pub const REPORTED_AFTER: Duration = Duration::from_secs(10);

/// How things stand with the daemon.
#[derive(Debug)]
pub struct DaemonLink {
    now: Mutex<DaemonStanding>,
    /// It was asked, and either answered or did not. For one who waits.
    contacted: Notify,
}

/// See [`DaemonLink`].
#[derive(Clone, Debug)]
pub struct DaemonStanding {
    /// Whether it answers.
    pub up: bool,
    /// Since when.
    pub since: Instant,
    /// Grows each time that it answers again.
    pub life: u64,
    /// Why it does not answer.
    pub why: String,
    /// As `uname -r` prints it; of the last daemon that answered.
    pub kernel: Option<String>,
    /// The boot that this is.
    pub boot_id: Option<String>,
}

impl Default for DaemonLink {
    fn default() -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let now = DaemonStanding {
            up: false,
            since: Instant::now(),
            life: 0,
            why: "it was not reached yet".to_owned(),
            kernel: None,
            boot_id: boot_id.map(|id| id.trim().to_owned()),
        };
        Self { now: Mutex::new(now), contacted: Notify::new() }
    }
}

impl DaemonLink {
    fn lock(&self) -> MutexGuard<'_, DaemonStanding> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it was asked once who it is, or does not say: what a reconcile reports is then about a kernel whose name
    /// is known, and not once more when it is. For one who waits.
    pub async fn contacted_once(&self) {
        let _in_vain = tokio::time::timeout(REPORTED_AFTER, self.contacted.notified()).await;
    }

    /// As it is now.
    #[must_use]
    pub fn now(&self) -> DaemonStanding {
        self.lock().clone()
    }

    /// Notes that it answers. True if it did not before.
    pub fn is_up(&self, kernel: Option<String>) -> bool {
        let mut now = self.lock();
        now.kernel = kernel.or(now.kernel.take());
        let changed = !now.up;
        if changed {
            (now.up, now.since, now.life) = (true, Instant::now(), now.life + 1);
        }
        self.contacted.notify_one();
        changed
    }

    /// Notes that it does not. True if it did before.
    pub fn is_down(&self, why: &str) -> bool {
        let mut now = self.lock();
        why.clone_into(&mut now.why);
        let changed = now.up;
        if changed {
            (now.up, now.since) = (false, Instant::now());
        }
        self.contacted.notify_one();
        changed
    }
}
