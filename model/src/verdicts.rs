//! Names and numbers of the verdicts of packet programs, as on the wire and in the user interface.

/// Verdicts of one kind of hook: names, and the numbers that programs return.
pub type Verdicts = [(&'static str, i32)];

/// XDP verdicts: `enum xdp_action`, and the value of a dispatcher for a member that did not run.
pub const XDP: &Verdicts =
    &[("aborted", 0), ("drop", 1), ("pass", 2), ("tx", 3), ("redirect", 4), ("dispatcher_return", 31)];

/// TC verdicts: `TC_ACT_*`, and the value of a dispatcher for a member that did not run.
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

/// Default proceed-on set of XDP: *pass* and *dispatcher_return*.
pub const XDP_DEFAULT: &[i32] = &[2, 31];

/// Default proceed-on set of TC: *pipe* and *dispatcher_return*.
pub const TC_DEFAULT: &[i32] = &[3, 30];

/// Returns whether the kernel drops a packet with this final verdict of a chain. `hook`: `xdp:eth0`.
#[must_use]
pub fn is_drop(hook: &str, verdict: &str) -> bool {
    match hook.starts_with("xdp:") {
        // The kernel drops packets with a verdict that it does not know.
        true => matches!(verdict, "drop" | "aborted" | "other"),
        false => verdict == "shot",
    }
}

/// Returns the number of a verdict's name; none if the table does not have it.
#[must_use]
pub fn number(table: &Verdicts, name: &str) -> Option<i32> {
    table.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// Returns the name of a verdict's number; none if the table does not have it.
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
    fn verdicts_that_drop_depend_on_the_hook() {
        let drops =
            |hook| ["drop", "aborted", "shot", "pass", "ok", "other", "stolen"].map(|of| is_drop(hook, of));
        assert_eq!(drops("xdp:eth0"), [true, true, false, false, false, true, false]);
        assert_eq!(drops("tc:eth0:ingress"), [false, false, true, false, false, false, false]);
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
