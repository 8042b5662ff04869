//! State of an attached object, as JSON.

use bpfman_proto::ext::v1::Standing;
use serde::{Serialize, Serializer};

/// State in one word, for scripts; the field `state` has a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandingWord(pub Standing);

impl StandingWord {
    /// Returns the word; none if the daemon does not compare the object, or reports only `state`.
    pub fn of(standing: Standing) -> Option<Self> {
        (standing != Standing::Unspecified).then_some(Self(standing))
    }

    /// Returns the name in JSON.
    pub fn name(self) -> String {
        self.0.as_str_name().trim_start_matches("STANDING_").to_ascii_lowercase()
    }

    /// Returns the word in tables, with which the JSON field `state` begins.
    pub fn shown(self) -> String {
        if self.0 == Standing::Running { "ok".to_owned() } else { self.name() }
    }

    pub fn differs(of: Option<Self>) -> bool {
        of.is_some_and(|word| word.0 != Standing::Running)
    }
}

impl Serialize for StandingWord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

/// Returns the sentence: the daemon's text of the difference, or `ok`.
pub fn state_text(differs: &str) -> String {
    if differs.is_empty() { "ok".to_owned() } else { differs.to_owned() }
}
