use bpfmand_cage::seccomp::arguments::{narrowed, of_workers};
use bpfmand_cage::seccomp::groups::{CallGroup, MOUNTING};
use bpfmand_cage::seccomp::refused::LATER;
use bpfmand_cage::seccomp::workers::{FETCHER, VERIFIER};
use bpfmand_cage::{GROUPS, UNKNOWN};

use super::process::{CallEnd, NOTHING, call_of_worker};

fn of_verifier() -> Vec<&'static CallGroup> {
    VERIFIER.iter().collect()
}

fn of_fetcher() -> Vec<&'static CallGroup> {
    VERIFIER.iter().chain(FETCHER).collect()
}

fn allowed(number: i64, own: u32) -> [i64; 6] {
    let mut arguments = NOTHING;
    let narrowed = of_workers().remove(&number).or_else(|| narrowed(own).remove(&number));
    for argument in narrowed.iter().flat_map(|ways| &ways[0]) {
        arguments[usize::from(argument.place)] = argument.value.into();
    }
    arguments
}

#[test]
fn allowed_worker_calls_succeed_and_any_other_kills_the_process() {
    for groups in [of_verifier(), of_fetcher()] {
        let of_table: Vec<i64> =
            groups.iter().flat_map(|group| group.all()).map(|call| call.number).collect();
        for number in &of_table {
            let end = call_of_worker(&groups, *number, |own| allowed(*number, own));
            assert_ne!(end, CallEnd::Killed, "call {number}");
        }
        let unknown: Vec<i64> = UNKNOWN.iter().map(|call| call.number).collect();
        // `uretprobe` and `uprobe`, which the kernel excludes from all filters.
        let passed = 335..=336;
        let others = (0..LATER.start).filter(|number| {
            !of_table.contains(number) && !unknown.contains(number) && !passed.contains(number)
        });
        for number in others {
            assert_eq!(call_of_worker(&groups, number, |_| NOTHING), CallEnd::Killed, "call {number}");
        }
    }
}

#[test]
fn they_have_no_call_that_the_daemon_does_not_have() {
    let of_daemon: Vec<&str> =
        GROUPS.iter().chain([&MOUNTING]).flat_map(|group| group.all()).map(|call| call.name()).collect();
    for call in of_fetcher().iter().flat_map(|group| group.all()) {
        assert!(of_daemon.contains(&call.name()), "{}", call.name());
    }
}

#[test]
fn a_fetcher_opens_no_file_to_write_to_it() {
    let ways = [libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT, libc::O_TRUNC, libc::O_TMPFILE];
    for way in ways {
        let arguments = |_| [-1, -1, way.into(), 0, 0, 0];
        assert_eq!(call_of_worker(&of_fetcher(), libc::SYS_openat, arguments), CallEnd::Killed, "{way:o}");
    }
    let reading = |_| [-1, -1, (libc::O_RDONLY | libc::O_CLOEXEC | libc::O_DIRECTORY).into(), 0, 0, 0];
    assert_eq!(call_of_worker(&of_fetcher(), libc::SYS_openat, reading), CallEnd::Made);
}

/// A signal could kill a process of the same user, even the daemon.
#[test]
fn no_descriptor_sends_signals() {
    let ways = [
        [libc::F_SETOWN, 1],
        [10, libc::SIGKILL], // F_SETSIG
        [15, 0],             // F_SETOWN_EX
        [libc::F_SETLEASE, 0],
        [libc::F_NOTIFY, 1],
        [libc::F_SETFL, libc::O_ASYNC],
    ];
    for groups in [of_verifier(), of_fetcher()] {
        for [command, argument] in ways {
            let arguments = |_| [-1, command.into(), argument.into(), 0, 0, 0];
            let end = call_of_worker(&groups, libc::SYS_fcntl, arguments);
            assert_eq!(end, CallEnd::Killed, "{command} {argument}");
        }
        let status = |_| [-1, libc::F_SETFL.into(), libc::O_NONBLOCK.into(), 0, 0, 0];
        assert_eq!(call_of_worker(&groups, libc::SYS_fcntl, status), CallEnd::Made);
    }
}
