//! User commands of a rollout: `promote` or `abort`, each executed once.
//!
//! One write first moves the user's annotation into a numbered one: otherwise, after a restart between execution and
//! removal, the command would be executed twice. The status holds the number of the last executed command.

use std::collections::BTreeMap;

use bpfman_application::orders::{ROLLOUT, ROLLOUT_COMMAND};
use serde_json::{Value, json};

/// Command of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutCommand {
    /// Continue: end the soak, accept the wave or its failures, or retry a revision that was rolled back.
    Promote,
    /// Go back to the stable revision.
    Abort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Sequence number, one higher for each command.
    pub number: i32,
    pub command: RolloutCommand,
}

/// Command in the annotations of an application.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadCommand {
    /// No new command; contains the last one that was accepted.
    Last(Option<Numbered>),
    /// A new command; this merge patch of the application accepts it.
    Take(Value),
    /// An unknown command.
    Refuse {
        /// Text of the annotation.
        word: String,
        /// Merge patch that removes it.
        patch: Value,
    },
}

impl RolloutCommand {
    fn read(word: &str) -> Option<Self> {
        match word {
            "promote" => Some(Self::Promote),
            "abort" => Some(Self::Abort),
            _ => None,
        }
    }
}

/// Reads the command. New numbers continue from the larger of `done` and the annotation's, so that none is reused.
#[must_use]
pub fn read_command(annotations: Option<&BTreeMap<String, String>>, done: i32) -> ReadCommand {
    let get = |key| annotations.and_then(|all| all.get(key)).map(String::as_str);
    let last = get(ROLLOUT_COMMAND).and_then(|text| {
        let (number, word) = text.split_once(' ')?;
        Some(Numbered { number: number.parse().ok()?, command: RolloutCommand::read(word)? })
    });
    let Some(word) = get(ROLLOUT) else { return ReadCommand::Last(last) };
    if RolloutCommand::read(word).is_none() {
        let patch = json!({ "metadata": { "annotations": { ROLLOUT: null } } });
        return ReadCommand::Refuse { word: word.to_owned(), patch };
    }
    let number = last.map_or(0, |last| last.number).max(done).saturating_add(1);
    ReadCommand::Take(json!({ "metadata": { "annotations": {
        ROLLOUT: null,
        ROLLOUT_COMMAND: format!("{number} {word}"),
    } } }))
}

/// Returns the command that was not executed, if any, and the patch that removes it before a later rollout.
#[must_use]
pub fn forget(annotations: &BTreeMap<String, String>) -> Option<(Option<String>, Value)> {
    let word = annotations.get(ROLLOUT).cloned();
    let is_left = word.is_some() || annotations.contains_key(ROLLOUT_COMMAND);
    is_left
        .then(|| (word, json!({ "metadata": { "annotations": { ROLLOUT: null, ROLLOUT_COMMAND: null } } })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_word_is_taken_over_with_the_next_number() {
        let given = annotations(&[(ROLLOUT, "promote"), (ROLLOUT_COMMAND, "3 abort")]);
        let ReadCommand::Take(patch) = read_command(Some(&given), 3) else { panic!("not taken over") };
        assert_eq!(patch["metadata"]["annotations"][ROLLOUT_COMMAND], "4 promote");
        assert!(patch["metadata"]["annotations"][ROLLOUT].is_null());
    }

    #[test]
    fn accepted_command_is_read_after_restart() {
        let given = annotations(&[(ROLLOUT_COMMAND, "4 promote")]);
        let last = Numbered { number: 4, command: RolloutCommand::Promote };
        assert_eq!(read_command(Some(&given), 3), ReadCommand::Last(Some(last)));
        assert_eq!(read_command(None, 3), ReadCommand::Last(None));
    }

    #[test]
    fn a_lost_annotation_makes_no_old_number_new() {
        let given = annotations(&[(ROLLOUT, "abort")]);
        let ReadCommand::Take(patch) = read_command(Some(&given), 7) else { panic!("not taken over") };
        assert_eq!(patch["metadata"]["annotations"][ROLLOUT_COMMAND], "8 abort");
    }

    #[test]
    fn another_word_is_refused() {
        let given = annotations(&[(ROLLOUT, "promte")]);
        assert!(
            matches!(read_command(Some(&given), 0), ReadCommand::Refuse { word, .. } if word == "promte")
        );
    }

    #[test]
    fn without_a_rollout_nothing_is_kept_for_the_next_one() {
        let gone = json!({ "metadata": { "annotations": { ROLLOUT: null, ROLLOUT_COMMAND: null } } });
        let given = annotations(&[(ROLLOUT, "abort"), (ROLLOUT_COMMAND, "3 promote")]);
        assert_eq!(forget(&given), Some((Some("abort".to_owned()), gone.clone())));
        assert_eq!(forget(&annotations(&[(ROLLOUT_COMMAND, "3 abort")])), Some((None, gone)));
        assert_eq!(forget(&annotations(&[("mine", "abort")])), None);
    }
}
