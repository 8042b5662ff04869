//! Names of verdicts in proceed-on sets.

use bpfman_model::verdicts::Verdicts;
pub use bpfman_model::verdicts::{TC, TC_DEFAULT, XDP, XDP_DEFAULT};

/// Error of a verdict name that the hook does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown verdict \"{name}\": expected one of {}", .expected.join(", "))]
pub struct UnknownVerdictName {
    pub name: String,
    pub expected: Vec<&'static str>,
}

pub fn number(table: &Verdicts, name: &str) -> Result<i32, UnknownVerdictName> {
    bpfman_model::verdicts::number(table, name).ok_or_else(|| UnknownVerdictName {
        name: name.to_owned(),
        expected: table.iter().map(|(known, _)| *known).collect(),
    })
}

/// Returns the names of verdict numbers; an unknown number stays a number. `default` replaces an empty list.
#[must_use]
pub fn names(table: &Verdicts, numbers: &[i32], default: &[i32]) -> Vec<String> {
    let numbers = if numbers.is_empty() { default } else { numbers };
    let shown = |number: &i32| {
        bpfman_model::verdicts::name(table, *number).map_or_else(|| number.to_string(), str::to_owned)
    };
    numbers.iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_verdict_stays_a_number() {
        assert_eq!(names(XDP, &[1, 9], &[]), ["drop", "9"]);
    }

    #[test]
    fn nothing_given_shows_the_default() {
        assert_eq!(names(XDP, &[], XDP_DEFAULT), ["pass", "dispatcher_return"]);
        assert_eq!(names(TC, &[], TC_DEFAULT), ["pipe", "dispatcher_return"]);
    }

    #[test]
    fn a_verdict_of_the_other_hook_is_refused_with_the_list() {
        let message = number(XDP, "pipe").unwrap_err().to_string();
        assert_eq!(
            message,
            "unknown verdict \"pipe\": expected one of aborted, drop, pass, tx, redirect, dispatcher_return"
        );
    }
}
