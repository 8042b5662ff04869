//! Unloaded and detached objects.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::CommandOutput;

/// Kind of a removed object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalSubject {
    Program,
    Link,
    /// An attachment by pattern.
    Match,
}

impl RemovalSubject {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Link => "link",
            Self::Match => "match",
        }
    }

    /// Returns the plural for messages, and the name of the list in JSON.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Program => "programs",
            Self::Link => "links",
            Self::Match => "matches",
        }
    }

    #[must_use]
    pub const fn done(self) -> &'static str {
        match self {
            Self::Program => "unloaded",
            Self::Link | Self::Match => "detached",
        }
    }

    const fn key(self) -> &'static str {
        match self {
            Self::Program => "program_id",
            Self::Link => "link_id",
            Self::Match => "match_id",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemovalOutcome {
    /// The object was removed.
    Removed {
        /// Number of links of an attachment by pattern; none for other objects.
        links_ended: Option<u32>,
    },
    /// The object did not exist, which is no failure.
    Missing,
    /// The object was not removed, for this reason.
    Failed(String),
}

/// Object to remove, with the outcome.
#[derive(Clone, Debug)]
pub struct Removal {
    pub subject: RemovalSubject,
    pub id: u32,
    pub outcome: RemovalOutcome,
}

#[derive(Clone, Debug)]
pub struct Removed {
    pub subject: RemovalSubject,
    /// True if they are shown as a list, also one or none.
    pub is_list: bool,
    /// All objects, in the order of the command line.
    pub all: Vec<Removal>,
}

impl CommandOutput for Removed {}

/// Encodes one object as its id and outcome; several as a list under the plural, each also with its error.
impl Serialize for Removed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { subject, is_list, all } = self;
        if let ([only], false) = (&all[..], is_list) {
            return One { removal: only, with_error: false }.serialize(serializer);
        }
        let all: Vec<One<'_>> = all.iter().map(|removal| One { removal, with_error: true }).collect();
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(subject.plural(), &all)?;
        map.end()
    }
}

struct One<'a> {
    removal: &'a Removal,
    with_error: bool,
}

impl Serialize for One<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Removal { subject, id, outcome } = self.removal;
        let (word, links_ended, error) = match outcome {
            RemovalOutcome::Removed { links_ended } => (subject.done(), links_ended.unwrap_or(0), None),
            RemovalOutcome::Missing => ("missing", 0, None),
            RemovalOutcome::Failed(error) => ("failed", 0, Some(error)),
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(subject.key(), id)?;
        if *subject == RemovalSubject::Match {
            map.serialize_entry("links_ended", &links_ended)?;
        }
        map.serialize_entry("outcome", word)?;
        if self.with_error {
            map.serialize_entry("error", &error)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn json(subject: RemovalSubject, outcomes: &[RemovalOutcome]) -> serde_json::Value {
        let one = |(at, outcome): (usize, &RemovalOutcome)| Removal {
            subject,
            id: at as u32 + 7,
            outcome: outcome.clone(),
        };
        let all: Vec<Removal> = outcomes.iter().enumerate().map(one).collect();
        serde_json::to_value(Removed { subject, is_list: all.len() != 1, all }).unwrap()
    }

    #[test]
    fn one_is_as_it_always_was_and_several_have_their_errors() {
        let done = RemovalOutcome::Removed { links_ended: None };
        assert_eq!(
            json(RemovalSubject::Program, std::slice::from_ref(&done)),
            json!({ "program_id": 7, "outcome": "unloaded" })
        );
        let ended = RemovalOutcome::Removed { links_ended: Some(3) };
        assert_eq!(
            json(RemovalSubject::Match, &[ended]),
            json!({ "match_id": 7, "links_ended": 3, "outcome": "detached" })
        );
        assert_eq!(
            json(RemovalSubject::Link, &[RemovalOutcome::Missing]),
            json!({ "link_id": 7, "outcome": "missing" })
        );
        assert_eq!(
            json(
                RemovalSubject::Link,
                &[done, RemovalOutcome::Missing, RemovalOutcome::Failed("busy".into())]
            ),
            json!({ "links": [
                { "link_id": 7, "outcome": "detached", "error": null },
                { "link_id": 8, "outcome": "missing", "error": null },
                { "link_id": 9, "outcome": "failed", "error": "busy" },
            ] })
        );
    }
}
