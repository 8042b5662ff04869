//! Names and numbers of the verdicts of packet programs, as users and the wire write them.
//!
//! The one table of this project: the daemon decides by it, and its clients translate by it.

/// Verdicts of one kind of hook: names, and the numbers that programs return.
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

/// After which verdicts an XDP chain goes on where an attachment names none: *pass* and *dispatcher_return*.
pub const XDP_DEFAULT: &[i32] = &[2, 31];

/// After which verdicts a TC chain goes on where an attachment names none: *pipe* and *dispatcher_return*.
pub const TC_DEFAULT: &[i32] = &[3, 30];

/// The number of a verdict's name; none if the table does not have it.
#[must_use]
pub fn number(table: &Verdicts, name: &str) -> Option<i32> {
    table.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The name of a verdict's number; none if the table does not have it.
#[must_use]
pub fn name(table: &Verdicts, number: i32) -> Option<&'static str> {
    table.iter().find(|(_, known)| *known == number).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_inverse() {
        for table in [XDP, TC] {
            for (known, value) in table {
                assert_eq!(number(table, known), Some(*value));
                assert_eq!(name(table, *value), Some(*known));
            }
        }
        assert_eq!((number(XDP, "pipe"), name(TC, 9)), (None, None));
    }

    #[test]
    fn the_defaults_are_in_their_tables() {
        for (table, default, names) in [
            (XDP, XDP_DEFAULT, ["pass", "dispatcher_return"]),
            (TC, TC_DEFAULT, ["pipe", "dispatcher_return"]),
        ] {
            let found: Vec<_> = default.iter().filter_map(|number| name(table, *number)).collect();
            assert_eq!(found, names);
        }
    }
}
