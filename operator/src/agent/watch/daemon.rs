//! Stream from the daemon: its availability, its interfaces, and changes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bpfman_apply::facts::NodeInterface;
use bpfman_apply::failure::root_cause;
use bpfman_proto::ext::v1::watch_event::Event;
use bpfman_proto::ext::v1::{InfoRequest, NetworkInterface, WatchEvent, WatchRequest};
use tonic::{Code, Status, Streaming};

use crate::agent::shared::Shared;
use crate::agent::shared::daemon_link::REPORTED_AFTER;
use bpfman_runtime::backoff::{after, jittered};
use bpfman_runtime::queue::QueueCause;

const FIRST: Duration = Duration::from_millis(100);

const MAX_DELAY: Duration = Duration::from_secs(2);

const POLL: Duration = Duration::from_secs(10);

/// Follows the daemon forever.
pub async fn follow(shared: Arc<Shared>) {
    let mut netns = shared.memories.follow_netns();
    let mut failures = 0;
    loop {
        let paths = netns.borrow_and_update().clone();
        let ended = tokio::select! {
            ended = one_stream(&shared, &paths) => Some(ended),
            changed = netns.changed() => {
                let _kept = changed;
                None
            }
        };
        let Some(Err(status)) = ended else {
            // The stream ended normally, or other namespaces are needed: reconnect soon, but not in a busy loop.
            tokio::time::sleep(FIRST).await;
            failures = 0;
            continue;
        };
        if shared.daemon_link.is_down(&root_cause(&status)) {
            failures = 0;
            tracing::warn!(why = root_cause(&status), "the daemon is away; programs go on");
            for key in shared.cache.known().keys() {
                shared.queue.add_after(&key, jittered(REPORTED_AFTER + Duration::from_secs(2)));
            }
        }
        failures += 1;
        tokio::time::sleep(jittered(after(failures, FIRST, MAX_DELAY))).await;
    }
}

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
        shared.reconcile_all(QueueCause::Changed);
    } else {
        // Changes between two streams were not reported.
        shared.reconcile_all(QueueCause::Maybe);
    }
    match stream {
        Some(stream) => events(shared, stream).await,
        None => poll(shared).await,
    }
}

async fn events(shared: &Shared, mut stream: Streaming<WatchEvent>) -> Result<(), Status> {
    while let Some(event) = stream.message().await? {
        match event.event {
            Some(Event::Interfaces(list)) => interfaces(shared, &list.interfaces),
            Some(Event::Changed(_)) => shared.reconcile_all(QueueCause::Maybe),
            None => {}
        }
    }
    Err(Status::unavailable("the daemon ended the stream"))
}

async fn poll(shared: &Shared) -> Result<(), Status> {
    loop {
        tokio::time::sleep(jittered(POLL)).await;
        shared.metrics.daemon_calls.add("Info", 1);
        shared.daemon.ext().info(InfoRequest {}).await?;
        shared.reconcile_all(QueueCause::Maybe);
    }
}

fn interfaces(shared: &Shared, list: &[NetworkInterface]) {
    let now: Vec<NodeInterface> = list.iter().map(NodeInterface::from).collect();
    let mut known = shared.cache.known();
    if known.interfaces.as_ref() == Some(&now) {
        return;
    }
    let names = |list: &[NodeInterface]| -> BTreeSet<(Option<String>, String, u32)> {
        list.iter().map(|one| (one.netns.clone(), one.name.clone(), one.index)).collect()
    };
    // Attaching may set an interface down and up again: that alone must not trigger the next attempt.
    let same = known.interfaces.as_ref().is_some_and(|before| names(before) == names(&now));
    let cause = if same { QueueCause::Maybe } else { QueueCause::Changed };
    known.interfaces = Some(now);
    let keys = known.on_interfaces(&shared.memories);
    drop(known);
    shared.reconcile_soon(&keys, cause);
}
