//! The filter of a command: which calls the receiver gets, which the kernel makes, and which have an answer at once.

use bpfmand_notify::{Assembler, Condition, Verdict};
use libc::sock_filter;

/// Commands of bpf(2) that are about a descriptor of the caller alone, and need no right since Linux 5.19: elements of maps,
/// pins in a bpffs of one's own, iterators, and maps of programs.
const NATIVE: [u32; 13] = [1, 2, 3, 4, 6, 7, 21, 24, 25, 26, 27, 33, 35];

/// Numbers of the command's sockets for routes.
pub const ROUTE_SOCKETS: std::ops::Range<u32> = 900..1000;

pub fn filter() -> Vec<sock_filter> {
    let mut filter = Assembler::new();
    for command in NATIVE {
        filter.rule(libc::SYS_bpf, &[(0, Condition::Is(command))], Verdict::Allow);
    }
    filter.rule(libc::SYS_bpf, &[], Verdict::Notify);
    filter.rule(libc::SYS_perf_event_open, &[], Verdict::Notify);
    let route = [(0, Condition::Is(libc::AF_NETLINK as u32)), (2, Condition::Is(libc::NETLINK_ROUTE as u32))];
    filter.rule(libc::SYS_socket, &route, Verdict::Notify);
    // Sockets for routes get descriptors in this range, so that sends on all other sockets do not wait for an answer.
    for call in [libc::SYS_sendmsg, libc::SYS_sendto] {
        filter.rule(call, &[(0, Condition::Within(ROUTE_SOCKETS.start, ROUTE_SOCKETS.end))], Verdict::Notify);
    }
    // Claim to be root: many programs refuse to run as another user before they try anything.
    for call in [libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid] {
        filter.rule(call, &[], Verdict::Fail(0));
    }
    filter.rule(libc::SYS_capget, &[], Verdict::Notify);
    // Claim a success: raising is refused to users, and not needed since Linux 5.11. Queries are allowed.
    let raises = [(1, Condition::Is(libc::RLIMIT_MEMLOCK)), (2, Condition::IsNot(0)), (3, Condition::Is(0))];
    filter.rule(libc::SYS_prlimit64, &raises, Verdict::Fail(0));
    #[cfg(target_arch = "x86_64")]
    filter.rule(libc::SYS_setrlimit, &[(0, Condition::Is(libc::RLIMIT_MEMLOCK))], Verdict::Fail(0));
    filter.end(Verdict::Allow)
}
