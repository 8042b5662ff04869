//! `TimeMembers`: times the members of a chain while a client is connected.

use std::time::Duration;

use bpfman_model::{HookKey, HookKind, Interface, LinkId, Peer};
use bpfman_proto::ext::v1 as wire;
use bpfmand_access::{AccessObject, AccessVerb};
use bpfmand_journal::{DaemonPart, HistoryEntry};
use bpfmand_kernel::Kernel;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::authorize::Permit;
use crate::places::ReadingBounds;
use crate::server::{Api, fail};
use crate::status;
use crate::{audit, objects};

/// Limits of concurrent streams: the start and the end of each may build a chain.
pub const MEMBER_TIMINGS: ReadingBounds = ReadingBounds { most: 32, most_of_one: 8, working: 32 };

const CHECK: Duration = Duration::from_secs(1);

pub type TimedMembers = ReceiverStream<Result<wire::TimeMembersEvent, Status>>;

/// Starts the timing, which ends with the stream: when the client closes it, disconnects or terminates, or loses the right.
pub async fn stream<K: Kernel>(
    api: &Api<K>,
    permit: Permit,
    (interface, kind): (Interface, HookKind),
    members: Option<Vec<LinkId>>,
) -> Result<TimedMembers, Status> {
    let place = api.member_timings.enter(permit.account)?;
    let hook = kind.at(&interface);
    let (events, stream) = mpsc::channel(1);
    let told = events.try_send(Ok(wire::TimeMembersEvent { hook: hook.clone() }));
    told.map_err(|_full| Status::internal("the stream of a timing has no room for its beginning"))?;
    let caller = audit::caller()?;
    // If the caller leaves while the chain is built, the work still completes, and dropping `begun` ends the timing.
    let begun = TimingSession { api: api.clone(), key: None, hook };
    let at = interface.clone();
    let begun = api
        .change(&permit, move |api| {
            let mut begun = begun;
            let begin = api.engine.begin_client_timing(&at, kind, members.as_deref());
            begun.key = Some(begin.map_err(fail)?);
            Ok(begun)
        })
        .await?;
    audit::made(format_args!("times of members, while the client is there"));
    let (ended, activity) = (api.watchers.ended(), api.activity());
    let right = TimingRight { api: api.clone(), permit, caller, interface, kind };
    tokio::spawn(async move {
        // A daemon that times members for a client is not idle.
        let _running = activity.begin();
        tokio::select! {
            () = events.closed() => {}
            () = ended => {}
            denial = right.lost() => drop(events.try_send(Err(denial))),
        }
        // Free the place only after the chain is restored.
        let end = tokio::task::spawn_blocking(move || {
            drop(begun);
            drop(place);
        });
        let _ended = end.await;
    });
    Ok(ReceiverStream::new(stream))
}

/// Right to time the members that a hook has at the time: timing slows all of them down.
struct TimingRight<K: Kernel> {
    api: Api<K>,
    permit: Permit,
    caller: Peer,
    interface: Interface,
    kind: HookKind,
}

impl<K: Kernel> TimingRight<K> {
    async fn lost(&self) -> Status {
        loop {
            tokio::time::sleep(CHECK).await;
            let (at, kind) = (self.interface.clone(), self.kind);
            let owners =
                self.api.read(&self.permit, move |api| api.engine.owners_at_hook(&at, kind).map_err(fail));
            let owners = owners.await.unwrap_or_default();
            let in_callers_netns = self.permit.network.is_some();
            let mut all = vec![AccessObject::Hook { kind, interface: &self.interface, in_callers_netns }];
            all.extend(owners.iter().map(objects::member));
            let policy = self.api.policy_for(&self.caller);
            if let Err(denial) = policy.decide(&self.caller, AccessVerb::Settings, &all) {
                return status::denial(&denial);
            }
        }
    }
}

/// Timing that ends when this value is dropped, on a thread that may block.
struct TimingSession<K: Kernel> {
    api: Api<K>,
    key: Option<HookKey>,
    hook: String,
}

impl<K: Kernel> Drop for TimingSession<K> {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        // During break-glass, build nothing: the chain is later restored without timing.
        let inside = self.api.gate.enter();
        let failure = self.api.engine.end_client_timing(&key, inside.is_ok()).err();
        if let Some(error) = &failure {
            tracing::warn!(hook = self.hook, "members are timed until the chain changes: {error}");
        }
        let object = format!("{} timing off: its client has gone", self.hook);
        let why = failure.map(|error| error.to_string());
        let entry = HistoryEntry::of_daemon(DaemonPart::Limits, "TimeMembers", &object);
        match &why {
            None => self.api.journal.record_access(entry, None),
            Some(why) => self.api.journal.record(entry.unless_failed(Some(why)), None),
        }
    }
}
