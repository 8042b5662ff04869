//! `docs/cage.md` matches the tables.

use bpfmand_cage::seccomp::arguments::NARROWED;
use bpfmand_cage::seccomp::groups::{CallGroup, MOUNTING};
use bpfmand_cage::seccomp::workers::{FETCHER, VERIFIER};
use bpfmand_cage::{GROUPS, KEPT, UNKNOWN};

const PAGE: &str = include_str!("../../../../docs/cage.md");

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

/// The page describes x86-64: other processors' calls are among its calls.
fn assert_calls(section: &str, wanted: &[String]) {
    if cfg!(target_arch = "x86_64") {
        return assert_rows(section, wanted);
    }
    for wanted in wanted {
        assert_begun(section, wanted);
    }
}

/// Compares the beginning of a row: calls that only x86-64 has come last in a row.
fn assert_begun(section: &str, wanted: &str) {
    let begin = if cfg!(target_arch = "x86_64") { wanted } else { wanted.trim_end_matches(" |") };
    let is_there = rows(section).iter().any(|row| row.starts_with(begin));
    assert!(is_there, "docs/cage.md, \"{section}\", is to have:\n{wanted}");
}

#[test]
fn system_calls_are_those_of_the_page() {
    let names = |group: &CallGroup| group.all().map(|call| call.name()).collect::<Vec<_>>().join(" ");
    let row = |group: &CallGroup, also| format!("| {}{also} | {} |", group.reason, names(group));
    let mut wanted: Vec<String> = GROUPS.iter().map(|group| row(group, "")).collect();
    wanted.push(row(&MOUNTING, ", where the CSI driver is served"));
    assert_calls("System calls", &wanted);
    for group in VERIFIER.iter().chain(FETCHER) {
        assert_begun("Processes without rights", &row(group, ""));
    }
    let narrowed: Vec<String> =
        NARROWED.iter().map(|(name, with)| format!("| `{name}` | {with} |")).collect();
    assert_calls("Arguments", &narrowed);
    for unknown in UNKNOWN {
        assert!(PAGE.contains(&format!("`{}`", unknown.name())), "{}", unknown.name());
    }
}
