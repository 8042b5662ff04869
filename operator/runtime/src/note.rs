//! Kubernetes events for people, limited to one per cause and minute.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client};
use tracing::warn;

use crate::manager::Manager;

const PAUSE: Duration = Duration::from_secs(60);

/// The API allows 1,024 bytes.
const LIMIT: usize = 1000;

/// `kubectl events --for` looks here for events of cluster-scoped objects.
const CLUSTER: &str = "default";

/// Old servers (1.20) accept events of cluster-scoped objects only here.
const CLUSTER_BEFORE: &str = "kube-system";

/// Event to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// True if it reports a problem.
    pub warning: bool,
    /// Reason in CamelCase, for people and filters.
    pub reason: String,
    /// Cause, by which equal events are limited.
    pub cause: String,
    pub text: String,
}

impl Note {
    #[must_use]
    pub fn normal(reason: &str, cause: &str, text: String) -> Self {
        Self { warning: false, reason: reason.to_owned(), cause: cause.to_owned(), text }
    }

    #[must_use]
    pub fn warning(reason: &str, cause: &str, text: String) -> Self {
        Self { warning: true, reason: reason.to_owned(), cause: cause.to_owned(), text }
    }
}

/// Rate limiter that admits one event per object, cause and minute.
#[derive(Debug)]
pub struct Limiter<K> {
    written: HashMap<(K, String), Instant>,
}

impl<K> Default for Limiter<K> {
    fn default() -> Self {
        Self { written: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash> Limiter<K> {
    /// Admits an event, or returns the remaining time if an equal one was admitted less than a minute ago.
    pub fn admit(&mut self, now: Instant, about: &K, note: &Note) -> Result<(), Duration> {
        self.written.retain(|_, written| now.saturating_duration_since(*written) < PAUSE);
        let key = (about.clone(), format!("{} {}", note.reason, note.cause));
        if let Some(written) = self.written.get(&key) {
            return Err(PAUSE.saturating_sub(now.saturating_duration_since(*written)));
        }
        self.written.insert(key, now);
        Ok(())
    }
}

#[derive(Clone)]
pub struct EventWriter {
    client: Client,
    manager: Manager,
    identity: String,
}

impl EventWriter {
    /// Returns a writer for this process, which `identity` distinguishes from others of its kind.
    #[must_use]
    pub const fn new(client: Client, manager: Manager, identity: String) -> Self {
        Self { client, manager, identity }
    }

    /// Writes an event about an object. A failure is only logged, because a lost event is no reason to stop.
    pub async fn write_event(&self, about: &ObjectReference, note: Note) {
        let written = match about.namespace.as_deref() {
            Some(namespace) => self.write(about, namespace, &note).await,
            None => match self.write(about, CLUSTER, &note).await {
                Err(kube::Error::Api(status)) if status.code == 422 => {
                    self.write(about, CLUSTER_BEFORE, &note).await
                }
                written => written,
            },
        };
        if let Err(error) = written {
            warn!(%error, "an event was not written");
        }
    }

    async fn write(&self, about: &ObjectReference, namespace: &str, note: &Note) -> kube::Result<Event> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        events.create(&self.manager.post(), &self.event(about, namespace, note.clone())).await
    }

    fn event(&self, about: &ObjectReference, namespace: &str, note: Note) -> Event {
        let now = Timestamp::now();
        let mut text = note.text;
        text.truncate(text.floor_char_boundary(LIMIT));
        Event {
            metadata: ObjectMeta {
                name: Some(format!(
                    "{}.{:x}",
                    about.name.as_deref().unwrap_or_default(),
                    now.as_nanosecond()
                )),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            reporting_controller: Some(self.manager.controller().to_owned()),
            reporting_instance: Some(self.identity.clone()),
            regarding: Some(about.clone()),
            type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
            action: Some(note.reason.clone()),
            reason: Some(note.reason),
            note: Some(text),
            ..Event::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_reported_once_a_minute() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        let (one, other) = ("u1", "u2");
        let note = Note::warning("NodesFailed", "signature 6.1", "it failed".to_owned());
        let second = Note::warning("NodesFailed", "signature 6.12", "it failed".to_owned());
        assert!(limiter.admit(start, &one, &note).is_ok());
        assert_eq!(limiter.admit(start + PAUSE / 2, &one, &note), Err(PAUSE / 2));
        assert!(limiter.admit(start + PAUSE / 2, &one, &second).is_ok());
        assert!(limiter.admit(start + PAUSE / 2, &other, &note).is_ok());
        assert!(limiter.admit(start + PAUSE, &one, &note).is_ok());
    }
}
