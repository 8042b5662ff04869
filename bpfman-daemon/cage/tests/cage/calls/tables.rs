use bpfmand_cage::seccomp::arguments::{BPF_COMMANDS, NARROWED, narrowed};
use bpfmand_cage::seccomp::groups::MOUNTING;
use bpfmand_cage::seccomp::refused::{FORBIDDEN_OLDER, LATER};
use bpfmand_cage::{CageMode, FORBIDDEN, GROUPS, UNKNOWN};

use super::process::{CallEnd, NOTHING, call};

#[test]
fn every_call_that_is_allowed_is_made() {
    for group in GROUPS.iter().chain([&MOUNTING]) {
        for allowed in group.all() {
            let ways = narrowed(0).get(&allowed.number).map_or(1, Vec::len);
            for way in 0..ways {
                let arguments = |own| {
                    let mut arguments = NOTHING;
                    for argument in narrowed(own).get(&allowed.number).map_or(&[][..], |ways| &ways[way]) {
                        arguments[usize::from(argument.place)] = argument.value.into();
                    }
                    arguments
                };
                let end = call(CageMode::On, true, allowed.number, arguments);
                assert_ne!(end, CallEnd::Killed, "{} {:x?}", allowed.name(), arguments(1));
            }
        }
    }
}

#[test]
fn every_call_that_is_forbidden_ends_the_process() {
    for forbidden in FORBIDDEN.iter().chain(FORBIDDEN_OLDER).chain(MOUNTING.calls) {
        let end = call(CageMode::On, false, forbidden.number, |_| NOTHING);
        assert_eq!(end, CallEnd::Killed, "{}", forbidden.name());
    }
}

#[test]
fn every_number_that_is_in_no_table_ends_the_process() {
    let known: Vec<i64> =
        GROUPS.iter().flat_map(|group| group.all()).chain(UNKNOWN).map(|call| call.number).collect();
    // Excluded from all filters: `uretprobe` and `uprobe`, which kill processes outside of probed programs.
    let passed = 335..=336;
    let is_told = |number: &i64| !known.contains(number) && !passed.contains(number);
    for number in (0..LATER.start).filter(is_told) {
        assert_eq!(call(CageMode::On, false, number, |_| NOTHING), CallEnd::Killed, "call {number}");
    }
    assert_eq!(call(CageMode::On, false, LATER.end, |_| NOTHING), CallEnd::Killed);
}

#[test]
fn calls_of_newer_libraries_fail_as_on_an_older_kernel() {
    for number in UNKNOWN.iter().map(|call| call.number).chain(LATER) {
        assert_eq!(call(CageMode::On, false, number, |_| NOTHING), CallEnd::Unknown, "call {number}");
    }
}

#[test]
fn calls_are_made_with_filter_in_log_mode_or_off() {
    for mode in [CageMode::Log, CageMode::Off] {
        for number in [libc::SYS_ptrace, libc::SYS_keyctl, libc::SYS_unshare, libc::SYS_execve] {
            assert_eq!(call(mode, false, number, |_| NOTHING), CallEnd::Made, "{mode}");
        }
    }
}

#[test]
fn no_call_is_in_two_tables() {
    let mut numbers: Vec<i64> = GROUPS
        .iter()
        .flat_map(|group| group.all())
        .chain(MOUNTING.calls)
        .chain(UNKNOWN)
        .chain(FORBIDDEN)
        .chain(FORBIDDEN_OLDER)
        .map(|call| call.number)
        .chain(LATER)
        .collect();
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), count);
}

#[test]
fn narrowed_calls_are_allowed_and_explained() {
    let allowed: Vec<_> = GROUPS.iter().chain([&MOUNTING]).flat_map(|group| group.all()).collect();
    let mut names: Vec<&str> = narrowed(1)
        .keys()
        .map(|number| allowed.iter().find(|call| call.number == *number).unwrap().name())
        .collect();
    names.sort_unstable();
    assert_eq!(names, NARROWED.map(|(name, _)| name));
}

#[test]
fn commands_of_bpf_are_those_that_the_daemon_gives() {
    let source = include_str!("../../../../kernel/src/linux/attr.rs");
    let (_, list) = source.split_once("pub enum Command {").unwrap();
    let (list, _) = list.split_once('}').unwrap();
    let number = |line: &str| line.trim().trim_end_matches(',').rsplit_once("= ")?.1.parse().ok();
    let mut commands: Vec<i32> = list.lines().filter_map(number).collect();
    // The daemon makes further commands for sessions.
    let source = include_str!("../../../../calls/src/layout.rs");
    let (_, list) = source.split_once("pub mod command {").unwrap();
    let (list, _) = list.split_once('}').unwrap();
    commands.extend(list.lines().filter_map(|line| line.trim().strip_suffix(';').and_then(number)));
    commands.sort_unstable();
    commands.dedup();
    assert_eq!(commands, BPF_COMMANDS);
}
