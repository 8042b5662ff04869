//! The stream from the daemon: whether it is there, which interfaces there are, and that something changed.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bpfman_apply::facts::Interface;
use bpfman_proto::ext::v1::watch_event::Event;
use bpfman_proto::ext::v1::{InfoRequest, NetworkInterface, WatchEvent, WatchRequest};
use tokio::sync::Notify;
use tonic::{Code, Status, Streaming};

use super::Shared;
use bpfman_runtime::backoff::{after, jittered};
use bpfman_runtime::connect::innermost;
use bpfman_runtime::queue::Cause;

/// The first wait before it is called again. It is on the same machine: this costs nobody else anything.
const FIRST: Duration = Duration::from_millis(100);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(2);

/// After this time without it, state objects say so. A restart takes less.
pub const SAID_AFTER: Duration = Duration::from_secs(10);

/// How often a daemon without the stream is asked.
const POLL: Duration = Duration::from_secs(10);

/// How things stand with the daemon.
#[derive(Debug)]
pub struct DaemonLink {
    now: Mutex<Now>,
    /// It was asked, and either answered or did not. For one who waits.
    asked: Notify,
}

/// See [`DaemonLink`].
#[derive(Clone, Debug)]
pub struct Now {
    /// Whether it answers.
    pub up: bool,
    /// Since when.
    pub since: Instant,
    /// Why it does not.
    pub why: String,
    /// As `uname -r` prints it; of the last daemon that answered.
    pub kernel: Option<String>,
    /// The boot that this is.
    pub boot_id: Option<String>,
}

impl Default for DaemonLink {
    fn default() -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let now = Now {
            up: false,
            since: Instant::now(),
            why: "it was not reached yet".to_owned(),
            kernel: None,
            boot_id: boot_id.map(|id| id.trim().to_owned()),
        };
        Self { now: Mutex::new(now), asked: Notify::new() }
    }
}

impl DaemonLink {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it was asked once who it is, or does not say: what a look says is then said about a kernel whose name
    /// is known, and not once more when it is. For one who waits.
    pub async fn asked_once(&self) {
        let _in_vain = tokio::time::timeout(SAID_AFTER, self.asked.notified()).await;
    }

    /// As it is now.
    #[must_use]
    pub fn now(&self) -> Now {
        self.lock().clone()
    }

    /// Notes that it answers. True if it did not before.
    fn is_up(&self, kernel: Option<String>) -> bool {
        let mut now = self.lock();
        now.kernel = kernel.or(now.kernel.take());
        let changed = !now.up;
        if changed {
            (now.up, now.since) = (true, Instant::now());
        }
        self.asked.notify_one();
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
        self.asked.notify_one();
        changed
    }
}

/// Follows the daemon for ever.
pub async fn follow(shared: Arc<Shared>) {
    let mut netns = shared.netns.follow();
    let mut failures = 0;
    loop {
        let paths = netns.borrow_and_update().clone();
        let ended = tokio::select! {
            ended = one_stream(&shared, &paths) => Some(ended),
            changed = netns.changed() => {
                // The sender lives as long as the agent does.
                let _kept = changed;
                None
            }
        };
        let Some(Err(status)) = ended else {
            // It ended well, or has to be asked for other namespaces: at once, but not in a circle.
            tokio::time::sleep(FIRST).await;
            failures = 0;
            continue;
        };
        if shared.daemon_link.is_down(&root_cause(&status)) {
            failures = 0;
            tracing::warn!(why = root_cause(&status), "the daemon is away; programs go on");
            // If it is not back by then, the state objects say so.
            for key in shared.world.known().keys() {
                shared.queue.add_after(&key, jittered(SAID_AFTER + Duration::from_secs(2)));
            }
        }
        failures += 1;
        tokio::time::sleep(jittered(after(failures, FIRST, LONGEST))).await;
    }
}

/// One stream, from its beginning to its end.
async fn one_stream(shared: &Shared, netns: &BTreeSet<String>) -> Result<(), Status> {
    shared.metrics.daemon_calls.add("Info", 1);
    let info = shared.daemon.ext().info(InfoRequest {}).await?.into_inner();
    shared.metrics.daemon_calls.add("Watch", 1);
    let request = WatchRequest { netns: netns.iter().cloned().collect() };
    let stream = match shared.daemon.node().watch(request).await {
        Ok(answer) => Some(answer.into_inner()),
        Err(status) if status.code() == Code::Unimplemented => None,
        Err(status) => return Err(status),
    };
    if shared.daemon_link.is_up(Some(info.kernel_release).filter(|release| !release.is_empty())) {
        tracing::info!(version = info.version, "the daemon answers");
        shared.asked.forgive();
        shared.look_at_all(Cause::Changed);
    } else {
        // What changed between two streams nobody was told of.
        shared.look_at_all(Cause::Maybe);
    }
    match stream {
        Some(stream) => events(shared, stream).await,
        None => poll(shared).await,
    }
}

async fn events(shared: &Shared, mut stream: Streaming<WatchEvent>) -> Result<(), Status> {
    while let Some(event) = stream.message().await? {
        match event.event {
            Some(Event::Interfaces(list)) => interfaces(shared, list.interfaces),
            Some(Event::Changed(_)) => shared.look_at_all(Cause::Maybe),
            // Of a newer daemon.
            None => {}
        }
    }
    Err(Status::unavailable("the daemon ended the stream"))
}

/// A daemon of before the stream: whether something changed is not known, so it is looked at.
async fn poll(shared: &Shared) -> Result<(), Status> {
    loop {
        tokio::time::sleep(jittered(POLL)).await;
        shared.metrics.daemon_calls.add("Info", 1);
        shared.daemon.ext().info(InfoRequest {}).await?;
        shared.look_at_all(Cause::Maybe);
    }
}

/// Takes a list over, and has those looked at that attach to interfaces, if it is another one.
fn interfaces(shared: &Shared, list: Vec<NetworkInterface>) {
    let now: Vec<Interface> = list
        .into_iter()
        .map(|found| Interface {
            name: found.name,
            index: found.index,
            netns: Some(found.netns).filter(|path| !path.is_empty()),
            up: found.up,
            addresses: found.addresses.iter().filter_map(|address| address.parse().ok()).collect(),
        })
        .collect();
    let mut known = shared.world.known();
    if known.interfaces.as_ref() == Some(&now) {
        return;
    }
    let names = |list: &[Interface]| -> BTreeSet<(Option<String>, String, u32)> {
        list.iter().map(|one| (one.netns.clone(), one.name.clone(), one.index)).collect()
    };
    // Attaching may take an interface down and up again: that alone must not be the cause of the next try.
    let same = known.interfaces.as_ref().is_some_and(|before| names(before) == names(&now));
    let cause = if same { Cause::Maybe } else { Cause::Changed };
    known.interfaces = Some(now);
    let keys = known.on_interfaces();
    drop(known);
    shared.look_at(&keys, cause);
}

/// What the operating system said, rather than what the transport makes of it.
fn root_cause(status: &Status) -> String {
    let error = innermost(status);
    match error.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => error.to_string(),
    }
}
