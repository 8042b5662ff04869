//! Condition of a state object, with the types of the published API.

use bpfman_application::condition::Conditions;
use bpfman_apply::failure::cut;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

const MAX_MESSAGE: usize = 32_768;

/// Type of a condition. The reason is the same word, since the API server refuses reasons with spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeCondition {
    /// Not reconciled yet, or waiting for the controller.
    Pending,
    /// Everything as requested.
    Success,
    /// A program or an attachment failed.
    Error,
    /// Everything is unloaded.
    Unloaded,
    /// A program could not be unloaded.
    UnloadError,
}

impl NodeCondition {
    /// Returns the text for type and reason.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Success => "Success",
            Self::Error => "Error",
            Self::Unloaded => "Unloaded",
            Self::UnloadError => "UnloadError",
        }
    }
}

/// Builds the condition. Its transition time is that of the last change of type; the message is always the current one.
#[must_use]
pub fn condition(word: NodeCondition, message: &str, generation: i64, before: &[Condition]) -> Condition {
    let conditions = Conditions { old: before, generation, now: Timestamp::now() };
    conditions.one(word.text(), true, word.text(), cut(message, MAX_MESSAGE))
}

/// Returns a fixed time, for comparisons that ignore time.
#[must_use]
pub const fn epoch() -> Time {
    Time(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [NodeCondition; 5] = [
        NodeCondition::Pending,
        NodeCondition::Success,
        NodeCondition::Error,
        NodeCondition::Unloaded,
        NodeCondition::UnloadError,
    ];

    #[test]
    fn the_api_server_takes_every_type_and_reason() {
        for word in WORDS {
            let condition = condition(word, "why", 3, &[]);
            let mut letters = condition.reason.chars();
            assert!(letters.next().is_some_and(|first| first.is_ascii_alphabetic()), "{condition:?}");
            assert!(letters.all(|letter| letter.is_ascii_alphanumeric()), "{condition:?}");
            assert_eq!((condition.type_.as_str(), condition.status.as_str()), (word.text(), "True"));
            assert_eq!(condition.observed_generation, Some(3));
        }
    }

    #[test]
    fn the_time_is_that_of_the_word_and_the_message_is_current() {
        let mut old = condition(NodeCondition::Error, "first", 1, &[]);
        old.last_transition_time = Time(Timestamp::UNIX_EPOCH);
        let same = condition(NodeCondition::Error, "second", 2, std::slice::from_ref(&old));
        assert_eq!(
            (same.message.as_str(), &same.last_transition_time),
            ("second", &old.last_transition_time)
        );
        let other = condition(NodeCondition::Success, "done", 2, &[old.clone()]);
        assert_ne!(other.last_transition_time, old.last_transition_time);
        assert_eq!(other.last_transition_time.0.subsec_nanosecond(), 0);
    }

    #[test]
    fn a_message_is_as_long_as_the_api_server_takes() {
        let condition = condition(NodeCondition::Error, &"ü".repeat(40_000), 1, &[]);
        assert!(condition.message.len() <= MAX_MESSAGE && condition.message.ends_with('…'));
    }
}
