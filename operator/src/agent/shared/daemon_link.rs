//! Connection state of the daemon, as its stream shows it.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Time without the daemon after which state objects report it. A restart takes less.
pub const REPORTED_AFTER: Duration = Duration::from_secs(10);

/// Connection state of the daemon, shared between tasks.
#[derive(Debug)]
pub struct DaemonLink {
    now: Mutex<DaemonLinkStatus>,
    /// Notified after each call, whether or not the daemon answered. Supports one waiter.
    contacted: Notify,
}

/// Content of a [`DaemonLink`].
#[derive(Clone, Debug)]
pub struct DaemonLinkStatus {
    /// True if the daemon answers.
    pub up: bool,
    /// Time of the last change of `up`.
    pub since: Instant,
    /// Incarnation: incremented each time the daemon becomes reachable.
    pub life: u64,
    /// Reason for which it does not answer.
    pub why: String,
    /// Kernel release of the last daemon that answered, as printed by `uname -r`.
    pub kernel: Option<String>,
    pub boot_id: Option<String>,
}

impl Default for DaemonLink {
    fn default() -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let now = DaemonLinkStatus {
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
    fn lock(&self) -> MutexGuard<'_, DaemonLinkStatus> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the daemon was called once, at most for a time limit: the first status then names the kernel.
    pub async fn contacted_once(&self) {
        let _in_vain = tokio::time::timeout(REPORTED_AFTER, self.contacted.notified()).await;
    }

    #[must_use]
    pub fn now(&self) -> DaemonLinkStatus {
        self.lock().clone()
    }

    /// Records that the daemon answers. Returns whether it did not before.
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

    /// Records that the daemon does not answer. Returns whether it did before.
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
