//! What is told to people as events: not more than one a cause and minute.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tracing::warn;

use super::projection::{Application, ApplicationId};
use super::watches::application_resource;

/// The least time between two events of one cause.
const PAUSE: Duration = Duration::from_secs(60);

/// Longest text of an event, bytes; the API takes 1,024.
const LIMIT: usize = 1000;

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Something is wrong.
    pub warning: bool,
    /// One word for people and filters.
    pub reason: String,
    /// What makes it the same as another.
    pub cause: String,
    /// The sentence.
    pub text: String,
}

impl Note {
    /// Something good, or as planned.
    #[must_use]
    pub fn normal(reason: &str, cause: &str, text: String) -> Self {
        Self { warning: false, reason: reason.to_owned(), cause: cause.to_owned(), text }
    }

    /// Something wrong.
    #[must_use]
    pub fn warning(reason: &str, cause: &str, text: String) -> Self {
        Self { warning: true, reason: reason.to_owned(), cause: cause.to_owned(), text }
    }
}

/// Lets one of each cause through in a minute.
#[derive(Debug, Default)]
pub struct Limiter {
    told: HashMap<(ApplicationId, String), Instant>,
}

impl Limiter {
    /// Whether this is to be told now.
    pub fn admit(&mut self, now: Instant, application: &ApplicationId, note: &Note) -> bool {
        self.told.retain(|_, told| now.saturating_duration_since(*told) < PAUSE);
        let key = (application.clone(), format!("{} {}", note.reason, note.cause));
        if self.told.contains_key(&key) {
            return false;
        }
        self.told.insert(key, now);
        true
    }
}

/// Writes events.
#[derive(Clone)]
pub struct Teller(Recorder);

impl Teller {
    /// Events by this controller.
    #[must_use]
    pub fn new(client: Client, identity: String) -> Self {
        Self(Recorder::new(
            client,
            Reporter { controller: "bpfman-operator".to_owned(), instance: Some(identity) },
        ))
    }

    /// Tells of an application. That an event is lost is no reason to stop.
    pub async fn tell(&self, about: &ObjectReference, note: Note) {
        let mut text = note.text;
        let end = (0..=LIMIT.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or_default();
        text.truncate(end);
        let event = Event {
            type_: if note.warning { EventType::Warning } else { EventType::Normal },
            action: note.reason.clone(),
            reason: note.reason,
            note: Some(text),
            secondary: None,
        };
        if let Err(error) = self.0.publish(&event, about).await {
            warn!(%error, "an event was not written");
        }
    }
}

/// How events name an application.
#[must_use]
pub fn reference(application: &Application) -> ObjectReference {
    let resource = application_resource(application.scope);
    ObjectReference {
        api_version: Some(resource.api_version),
        kind: Some(resource.kind),
        name: Some(application.name.clone()),
        namespace: application.namespace.clone(),
        uid: Some(application.id.to_string()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cause_is_told_once_a_minute_and_others_beside_it() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        let (one, other) = (ApplicationId("u1".into()), ApplicationId("u2".into()));
        let note = Note::warning("NodesFailed", "signature 6.1", "it failed".to_owned());
        let second = Note::warning("NodesFailed", "signature 6.12", "it failed".to_owned());
        assert!(limiter.admit(start, &one, &note));
        assert!(!limiter.admit(start + PAUSE / 2, &one, &note));
        assert!(limiter.admit(start + PAUSE / 2, &one, &second));
        assert!(limiter.admit(start + PAUSE / 2, &other, &note));
        assert!(limiter.admit(start + PAUSE, &one, &note));
    }
}
