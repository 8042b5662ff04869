//! `TimeMembers`: members of a chain are timed as long as a client is there.

use bpfman_proto::ext::v1 as wire;
use bpfmand_core::{HookKey, HookKind, Interface, LinkId};
use bpfmand_journal::{DaemonPart, HistoryEntry};
use bpfmand_kernel::Kernel;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::audit;
use crate::authorize::Permit;
use crate::places::ReadingBounds;
use crate::server::{Api, fail};

/// Streams at the same time: each one's beginning and end may build a chain.
pub const MEMBER_TIMINGS: ReadingBounds = ReadingBounds { most: 32, most_of_one: 8, working: 32 };

pub type TimedMembers = ReceiverStream<Result<wire::TimeMembersEvent, Status>>;

/// Begins, and ends when nobody reads the stream any more: the client closed it, its connection or itself.
///
/// # Errors
/// Too many are open, or the hook's members cannot be timed.
pub async fn stream<K: Kernel>(
    api: &Api<K>,
    permit: &Permit,
    (interface, kind): (Interface, HookKind),
    members: Option<Vec<LinkId>>,
) -> Result<TimedMembers, Status> {
    let place = api.member_timings.enter(permit.uid)?;
    let hook = kind.at(&interface);
    let (events, stream) = mpsc::channel(1);
    let told = events.try_send(Ok(wire::TimeMembersEvent { hook: hook.clone() }));
    told.map_err(|_full| Status::internal("the stream of a timing has no room for its beginning"))?;
    // A caller that goes while the chain is being built has this work done to its end, and what follows it too.
    let begun = Begun { api: api.clone(), key: None, hook };
    let begun = api
        .change(permit, move |api| {
            let mut begun = begun;
            let begin = api.engine.begin_client_timing(&interface, kind, members.as_deref());
            begun.key = Some(begin.map_err(fail)?);
            Ok(begun)
        })
        .await?;
    audit::made(format_args!("times of members, while the client is there"));
    let (ended, activity) = (api.watchers.ended(), api.activity());
    tokio::spawn(async move {
        // A daemon that holds something for somebody is not idle.
        let _running = activity.begin();
        tokio::select! {
            () = events.closed() => {}
            () = ended => {}
        }
        // The place is free when the chain is as it was.
        let end = tokio::task::spawn_blocking(move || {
            drop(begun);
            drop(place);
        });
        let _ended = end.await;
    });
    Ok(ReceiverStream::new(stream))
}

/// Times that are taken until this value is dropped, on a thread that may wait.
struct Begun<K: Kernel> {
    api: Api<K>,
    key: Option<HookKey>,
    hook: String,
}

impl<K: Kernel> Drop for Begun<K> {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        // Where root has detached everything, nothing is built: what is put back later is built without.
        let inside = self.api.gate.enter();
        let failure = self.api.engine.end_client_timing(&key, inside.is_ok()).err();
        if let Some(error) = &failure {
            tracing::warn!(hook = self.hook, "members are timed until the chain changes: {error}");
        }
        let object = format!("{} timing off: its client has gone", self.hook);
        let why = failure.map(|error| error.to_string());
        let entry = HistoryEntry::of_daemon(DaemonPart::Limits, "TimeMembers", &object);
        self.api.journal.record(entry.unless_failed(why.as_deref()), None);
    }
}
