//! Events about other tools' changes, from the daemon's journal: no status shows a link that is restored at once.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bpfman_application::scope::{ApplicationKey, Scope};
use bpfman_apply::failure::root_cause;
use bpfman_proto::ext::v1::{FollowEventsRequest, JournalLine};
use bpfman_proto::{REASON_TRAILER, Reason};
use bpfman_runtime::backoff::{after, jittered};
use bpfman_runtime::note::Note;
use tonic::{Code, Status};

use crate::agent::objects::state::StateObject;
use crate::agent::shared::Shared;

const PUT_BACK: &str = "PutBack";
const TOUCHED: &str = "HookTouched";
const FIRST: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(30);
/// Time after which a daemon without a journal is queried again: it may have been updated.
const WITHOUT: Duration = Duration::from_secs(600);

#[derive(Clone, Debug, Default)]
struct JournalPlace {
    number: u64,
    epoch: String,
}

impl JournalPlace {
    fn request(&self) -> FollowEventsRequest {
        FollowEventsRequest {
            after: (!self.epoch.is_empty()).then_some(self.number),
            epoch: self.epoch.clone(),
            verbs: vec![PUT_BACK.to_owned(), TOUCHED.to_owned()],
            ..FollowEventsRequest::default()
        }
    }
}

/// Follows the journal forever.
pub async fn follow(shared: Arc<Shared>) {
    let mut place = JournalPlace::default();
    let mut failures = 0;
    loop {
        let before = place.number;
        let Err(status) = one_stream(&shared, &mut place).await;
        failures = if place.number > before { 0 } else { failures + 1 };
        let reason = status.metadata().get(REASON_TRAILER).and_then(|reason| reason.to_str().ok());
        let wait = match (status.code(), reason) {
            (Code::Unimplemented, _) => WITHOUT,
            // The daemon has another journal. Entries in between are not published, but can be read from it.
            (_, Some(reason)) if reason == Reason::Conflict.name() => {
                place = JournalPlace::default();
                FIRST
            }
            _ => after(failures.max(1), FIRST, MAX_DELAY),
        };
        tracing::debug!(why = root_cause(&status), "the daemon's journal is not followed now");
        tokio::time::sleep(jittered(wait)).await;
    }
}

async fn one_stream(shared: &Shared, place: &mut JournalPlace) -> Result<std::convert::Infallible, Status> {
    shared.metrics.daemon_calls.add("FollowEvents", 1);
    let mut stream = shared.daemon.node().follow_events(place.request()).await?.into_inner();
    while let Some(answer) = stream.message().await? {
        for entry in &answer.entries {
            tell(shared, entry);
        }
        place.number = answer.position;
        if !answer.epoch.is_empty() {
            place.epoch = answer.epoch;
        }
    }
    Err(Status::unavailable("the daemon ended the stream"))
}

fn tell(shared: &Shared, entry: &JournalLine) {
    for key in entry.owners.iter().filter_map(|owner| application(owner)) {
        let states: Vec<Arc<StateObject>> = shared.cache.known().states_of(&key).cloned().collect();
        for state in states.iter().filter(|state| !state.deleted) {
            let note = note(&shared.node, entry);
            let mut limiter = shared.limiter.lock().unwrap_or_else(PoisonError::into_inner);
            if limiter.admit(Instant::now(), &state.uid, &note).is_ok() {
                let (events, about) = (shared.events.clone(), state.reference());
                tokio::spawn(async move { events.write_event(&about, note).await });
            }
        }
    }
}

fn note(node: &str, entry: &JournalLine) -> Note {
    if entry.verb == PUT_BACK {
        let text = format!("on node {node}: bpfman put back what others removed: {}", entry.object);
        return Note::warning(PUT_BACK, &entry.object, text);
    }
    let hook = entry.hooks.first().map_or("a link", String::as_str);
    let by = match (entry.unit.as_str(), entry.command.as_str()) {
        ("", "") => String::new(),
        ("", command) => format!(" ({command:?})"),
        (unit, "") => format!(" ({unit})"),
        (unit, command) => format!(" ({command:?} of {unit})"),
    };
    let user = entry.uid.map_or_else(|| "somebody".to_owned(), |uid| format!("user {uid}"));
    let text = format!("on node {node}: {user}{by} touched {hook}: {}", entry.object);
    Note::warning(TOUCHED, hook, text)
}

fn application(owner: &str) -> Option<ApplicationKey> {
    let name = owner.strip_prefix("application:")?;
    Some(match name.split_once('/') {
        Some((namespace, name)) => ApplicationKey {
            scope: Scope::Namespaced,
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        },
        None => ApplicationKey { scope: Scope::Cluster, namespace: None, name: name.to_owned() },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn owners_are_applications_of_the_cluster_or_of_a_namespace() {
        let cluster = application("application:firewall").unwrap();
        assert_eq!(
            (cluster.scope, cluster.namespace, cluster.name.as_str()),
            (Scope::Cluster, None, "firewall")
        );
        let shop = application("application:shop/firewall").unwrap();
        assert_eq!(
            (shop.scope, shop.namespace.as_deref(), shop.name.as_str()),
            (Scope::Namespaced, Some("shop"), "firewall")
        );
        for other in ["root", "user:1000", "grant:network"] {
            assert_eq!(application(other), None, "{other}");
        }
    }

    #[test]
    fn earlier_entries_are_skipped_and_the_stream_resumes() {
        let mut place = JournalPlace::default();
        assert_eq!(place.request().after, None);
        place = JournalPlace { number: 7, epoch: "00ff".to_owned() };
        let request = place.request();
        assert_eq!((request.after, request.epoch.as_str(), request.until_now), (Some(7), "00ff", false));
        assert_eq!(request.verbs, ["PutBack", "HookTouched"]);
    }

    #[test]
    fn event_names_process_without_control_characters() {
        let entry = JournalLine {
            verb: "HookTouched".to_owned(),
            object: "XDP set by netlink: XDP of interface 3, by netlink".to_owned(),
            hooks: vec!["xdp:eth0".to_owned()],
            uid: Some(0),
            command: "i\u{1b}p".to_owned(),
            unit: "agent.service".to_owned(),
            ..JournalLine::default()
        };
        let told = note("edge", &entry);
        assert_eq!(
            (told.warning, told.reason.as_str(), told.cause.as_str()),
            (true, "HookTouched", "xdp:eth0")
        );
        assert_eq!(
            told.text,
            "on node edge: user 0 (\"i\\u{1b}p\" of agent.service) touched xdp:eth0: \
             XDP set by netlink: XDP of interface 3, by netlink"
        );
    }
}
