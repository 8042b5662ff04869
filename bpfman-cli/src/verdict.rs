//! The names of the verdicts after which a chain goes on to its next program.

/// A verdict name that the hook does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown verdict \"{name}\": expected one of {}", .expected.join(", "))]
pub struct UnknownVerdict {
    /// What was given.
    pub name: String,
    /// What the hook knows.
    pub expected: Vec<&'static str>,
}

/// Verdicts of one kind of hook: names and the numbers that go over the wire.
pub type Verdicts = [(&'static str, i32)];

/// XDP: `enum xdp_action`, and what a dispatcher returns for a member that did not run.
pub const XDP: &Verdicts =
    &[("aborted", 0), ("drop", 1), ("pass", 2), ("tx", 3), ("redirect", 4), ("dispatcher_return", 31)];

/// TC: `TC_ACT_*`, and what a dispatcher returns for a member that did not run.
pub const TC: &Verdicts = &[
    ("unspec", -1),
    ("ok", 0),
    ("reclassify", 1),
    ("shot", 2),
    ("pipe", 3),
    ("stolen", 4),
    ("queued", 5),
    ("repeat", 6),
    ("redirect", 7),
    ("trap", 8),
    ("dispatcher_return", 30),
];

/// What applies when an XDP attachment names no verdict.
pub const XDP_DEFAULT: &[i32] = &[2, 31];

/// What applies when a TC attachment names no verdict.
pub const TC_DEFAULT: &[i32] = &[3, 30];

/// The number of a verdict's name.
pub fn number(table: &Verdicts, name: &str) -> Result<i32, UnknownVerdict> {
    table.iter().find(|(known, _)| *known == name).map(|(_, number)| *number).ok_or_else(|| UnknownVerdict {
        name: name.to_owned(),
        expected: table.iter().map(|(known, _)| *known).collect(),
    })
}

/// The names of verdict numbers; a number that nobody knows stays a number. `default` stands for an empty list.
#[must_use]
pub fn names(table: &Verdicts, numbers: &[i32], default: &[i32]) -> Vec<String> {
    let numbers = if numbers.is_empty() { default } else { numbers };
    let name_of = |number: &i32| table.iter().find(|(_, known)| known == number).map(|(name, _)| *name);
    numbers.iter().map(|number| name_of(number).map_or_else(|| number.to_string(), str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_inverse() {
        for table in [XDP, TC] {
            for (name, value) in table {
                assert_eq!(number(table, name), Ok(*value));
                assert_eq!(names(table, &[*value], &[]), [*name]);
            }
        }
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
