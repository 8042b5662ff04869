//! `TimeMembers`: times or counts the members of chains while a client is connected.

use std::sync::Arc;
use std::time::Duration;

use bpfman_model::{HookKey, HookKind, Interface, LinkId, Peer};
use bpfman_proto::ext::v1 as wire;
use bpfmand_access::{AccessObject, AccessVerb};
use bpfmand_engine::Measurement;
use bpfmand_journal::{DaemonPart, HistoryEntry};
use bpfmand_kernel::Kernel;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::authorize::Permit;
use crate::places::ReadingBounds;
use crate::server::{Api, fail};
use crate::{audit, objects, parse, status};

/// Limits of concurrent streams: the start and the end of each may build chains.
pub const MEMBER_MEASUREMENTS: ReadingBounds = ReadingBounds { most: 32, most_of_one: 8, working: 32 };
/// Maximum number of hooks of one stream: as many as an entry of the journal names.
const MAX_HOOKS: usize = 64;

const CHECK: Duration = Duration::from_secs(1);

type Event = Result<wire::TimeMembersEvent, Status>;
pub type MeasuredMembers = ReceiverStream<Event>;

/// Starts the measurement, which ends with the stream: when the client closes it, disconnects or terminates, or loses
/// the right over one of the hooks.
pub async fn stream<K: Kernel>(
    api: &Api<K>,
    request: wire::TimeMembersRequest,
) -> Result<MeasuredMembers, Status> {
    let of = if request.verdicts { Measurement::Verdicts } else { Measurement::Times };
    let (hooks, mut refusals) = permitted(api, hooks(request)?).await?;
    let account = hooks[0].permit.account;
    let place = api.member_measurements.enter(account)?;
    let (events, stream) = mpsc::channel(MAX_HOOKS + 1);
    let caller = audit::caller()?;
    let (hooks, wanted) = (Arc::new(hooks), events.clone());
    let begun = {
        let hooks = Arc::clone(&hooks);
        // If the caller leaves while chains are built, the work still ends, and dropping its result ends the measurement.
        api.change(&Arc::clone(&hooks)[0].permit, move |api| Ok(begin(api, of, &hooks, &wanted))).await?
    };
    let mut sessions = Vec::with_capacity(begun.len());
    for (hook, begun) in hooks.iter().zip(begun) {
        match begun {
            Ok(session) => sessions.push(session),
            Err(status) => refusals.push((hook.name(), status)),
        }
    }
    if let (true, Some((_, first))) = (sessions.is_empty(), refusals.first()) {
        return Err(first.clone());
    }
    audit::made(format_args!("{} of members, while the client is there", word(of)));
    let measured = sessions.iter().map(|session| (session.hook.clone(), String::new()));
    for (hook, why_not) in
        measured.chain(refusals.into_iter().map(|(hook, status)| (hook, status.message().to_owned())))
    {
        let told = events.try_send(Ok(wire::TimeMembersEvent { hook, why_not }));
        told.map_err(|_full| Status::internal("the stream of a measurement has no room for its beginning"))?;
    }
    let (ended, activity) = (api.watchers.ended(), api.activity());
    let right = MeasurementRight { api: api.clone(), caller, hooks };
    tokio::spawn(async move {
        // A daemon that measures members for a client is not idle.
        let _running = activity.begin();
        tokio::select! {
            () = events.closed() => {}
            () = ended => {}
            denial = right.lost() => drop(events.try_send(Err(denial))),
        }
        // Free the place only after the chains are restored.
        let end = tokio::task::spawn_blocking(move || {
            drop(sessions);
            drop(place);
        });
        let _ended = end.await;
    });
    Ok(ReceiverStream::new(stream))
}

/// Hook that the caller may measure.
struct MeasuredHook {
    permit: Permit,
    interface: Interface,
    kind: HookKind,
    /// Members that were checked; `None` for a caller with the right over any member.
    members: Option<Vec<LinkId>>,
}

impl MeasuredHook {
    fn name(&self) -> String {
        self.kind.at(&self.interface)
    }
}

fn hooks(request: wire::TimeMembersRequest) -> Result<Vec<(Interface, HookKind)>, Status> {
    let wire::TimeMembersRequest { hook, verdicts: _, hooks } = request;
    if hooks.is_empty() {
        return Ok(vec![parse::hook(hook)?]);
    }
    if hook.is_some() || hooks.len() > MAX_HOOKS {
        return Err(status::invalid(format!(
            "{} hooks are requested: at most {MAX_HOOKS} are measured by one call, in the field `hooks` alone",
            hooks.len() + usize::from(hook.is_some())
        )));
    }
    hooks.into_iter().map(|hook| parse::hook(Some(hook))).collect()
}

type Refusals = Vec<(String, Status)>;

/// Returns the hooks that the caller may measure, and why it may not measure the others; an error if it may measure
/// none.
async fn permitted<K: Kernel>(
    api: &Api<K>,
    hooks: Vec<(Interface, HookKind)>,
) -> Result<(Vec<MeasuredHook>, Refusals), Status> {
    let (all, mut measured, mut refusals) = (hooks.len(), Vec::new(), Vec::new());
    for (interface, kind) in hooks {
        audit::hook(&interface, kind);
        match api.authorize_hook(&interface, kind).await {
            Ok((permit, members)) => measured.push(MeasuredHook { permit, interface, kind, members }),
            Err(status) => refusals.push((kind.at(&interface), status)),
        }
    }
    match (&measured[..], refusals.first()) {
        ([], Some((_, first))) => return Err(first.clone()),
        ([first, ..], _) if all > 1 => {
            audit::object(format_args!("{} and {} more hooks", first.name(), all - 1));
        }
        _ => {}
    }
    Ok((measured, refusals))
}

/// Returns one result for each hook, in order. Stops building chains once the client has left.
fn begin<K: Kernel>(
    api: &Api<K>,
    of: Measurement,
    hooks: &[MeasuredHook],
    wanted: &mpsc::Sender<Event>,
) -> Vec<Result<MeasurementSession<K>, Status>> {
    let begin_one = |hook: &MeasuredHook| {
        if wanted.is_closed() {
            return Err(Status::cancelled("the client has left"));
        }
        // Break-glass waits for this work.
        api.gate.check()?;
        let begin = |api: &Api<K>| {
            let (at, members) = (&hook.interface, hook.members.as_deref());
            api.engine.begin_client_measurement(of, at, hook.kind, members).map_err(fail)
        };
        let key = hook.permit.in_network(begin)(api)?;
        Ok(MeasurementSession { api: api.clone(), of, key, hook: hook.name() })
    };
    hooks.iter().map(begin_one).collect()
}

/// Right over all present members of the hooks, checked repeatedly: measuring slows all of them down.
struct MeasurementRight<K: Kernel> {
    api: Api<K>,
    caller: Peer,
    hooks: Arc<Vec<MeasuredHook>>,
}

impl<K: Kernel> MeasurementRight<K> {
    async fn lost(&self) -> Status {
        loop {
            tokio::time::sleep(CHECK).await;
            for hook in self.hooks.iter() {
                if let Err(denial) = self.check(hook).await {
                    return denial;
                }
            }
        }
    }

    async fn check(&self, hook: &MeasuredHook) -> Result<(), Status> {
        let MeasuredHook { permit, interface, kind, .. } = hook;
        let (at, kind) = (interface.clone(), *kind);
        let owners = self.api.read(permit, move |api| api.engine.owners_at_hook(&at, kind).map_err(fail));
        let owners = owners.await.unwrap_or_default();
        let in_callers_netns = permit.network.is_some();
        let mut all = vec![AccessObject::Hook { kind, interface, in_callers_netns }];
        all.extend(owners.iter().map(objects::member));
        let policy = self.api.policy_for(&self.caller);
        let decided = policy.decide(&self.caller, AccessVerb::Settings, &all);
        decided.map(drop).map_err(|denial| status::denial(&denial))
    }
}

/// Measurement that ends when this value is dropped, on a thread that may block.
struct MeasurementSession<K: Kernel> {
    api: Api<K>,
    of: Measurement,
    key: HookKey,
    hook: String,
}

impl<K: Kernel> Drop for MeasurementSession<K> {
    fn drop(&mut self) {
        // During break-glass, build nothing: the chain is later restored without its measurement.
        let inside = self.api.gate.enter();
        let failure = self.api.engine.end_client_measurement(self.of, &self.key, inside.is_ok()).err();
        if let Some(error) = &failure {
            tracing::warn!(hook = self.hook, "members are measured until the chain changes: {error}");
        }
        let object = format!("{} {} off: its client has gone", self.hook, word(self.of));
        let why = failure.map(|error| error.to_string());
        let entry = HistoryEntry::of_daemon(DaemonPart::Limits, "TimeMembers", &object);
        match &why {
            None => self.api.journal.record_access(entry, None),
            Some(why) => self.api.journal.record(entry.unless_failed(Some(why)), None),
        }
    }
}

const fn word(of: Measurement) -> &'static str {
    match of {
        Measurement::Times => "timing",
        Measurement::Verdicts => "counting",
    }
}
