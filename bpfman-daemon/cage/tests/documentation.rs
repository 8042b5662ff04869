//! `docs/cage.md` says what the tables say.
#![allow(clippy::unwrap_used, reason = "tests")]

use bpfmand_cage::seccomp::arguments::NARROWED;
use bpfmand_cage::seccomp::groups::{CallGroup, MOUNTING};
use bpfmand_cage::seccomp::helpers::{FETCHER, VERIFIER};
use bpfmand_cage::{GROUPS, KEPT, UNKNOWN};

const PAGE: &str = include_str!("../../../docs/cage.md");

/// The rows of the tables of a section, without their heads.
fn rows(section: &str) -> Vec<&'static str> {
    let heading = format!("\n## {section}\n");
    let (_, text) = PAGE.split_once(&heading).unwrap_or_else(|| panic!("no section {section}"));
    let text = text.split("\n## ").next().unwrap();
    let tables = text.split("\n\n").filter(|block| block.starts_with("| "));
    tables.flat_map(|table| table.lines().skip(2)).collect()
}

fn assert_rows(section: &str, wanted: &[String]) {
    let found = rows(section);
    assert!(found == wanted, "docs/cage.md, \"{section}\", is to have:\n{}", wanted.join("\n"));
}

#[test]
fn capabilities_are_those_of_the_page() {
    let wanted: Vec<String> =
        KEPT.iter().map(|kept| format!("| `{}` | {} |", kept.capability, kept.reason)).collect();
    assert_rows("Capabilities", &wanted);
}

/// Calls of x86-64 that newer processors do not have stand in the page as well: it is that of an x86-64.
#[cfg(target_arch = "x86_64")]
#[test]
fn system_calls_are_those_of_the_page() {
    let names = |group: &CallGroup| group.all().map(|call| call.name()).collect::<Vec<_>>().join(" ");
    let row = |group: &CallGroup, also| format!("| {}{also} | {} |", group.reason, names(group));
    let mut wanted: Vec<String> = GROUPS.iter().map(|group| row(group, "")).collect();
    wanted.push(row(&MOUNTING, ", where the CSI driver is served"));
    assert_rows("System calls", &wanted);
    let of_helpers = VERIFIER.iter().chain(FETCHER).map(|group| row(group, ""));
    let rows = rows("Processes without rights");
    for wanted in of_helpers {
        assert!(rows.contains(&wanted.as_str()), "docs/cage.md is to have:\n{wanted}");
    }
    let narrowed: Vec<String> =
        NARROWED.iter().map(|(name, with)| format!("| `{name}` | {with} |")).collect();
    assert_rows("Arguments", &narrowed);
    for unknown in UNKNOWN {
        assert!(PAGE.contains(&format!("`{}`", unknown.name())), "{}", unknown.name());
    }
}
