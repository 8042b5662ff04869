use bpfmand_cage::CageMode;

use super::process::{CallEnd, call};

type Attempt = (libc::c_long, &'static [i64], &'static str);

const THREAD: i64 = 0x003d_0f00;

const ATTEMPTS: &[Attempt] = &[
    (libc::SYS_socket, &[libc::AF_PACKET as i64, 3, 0], "packets of others"),
    (libc::SYS_socket, &[libc::AF_INET as i64, libc::SOCK_RAW as i64, 255], "packets that look like others'"),
    (
        libc::SYS_socket,
        &[libc::AF_INET6 as i64, (libc::SOCK_RAW | libc::SOCK_CLOEXEC) as i64, 58],
        "the same",
    ),
    (libc::SYS_socket, &[libc::AF_NETLINK as i64, 3, 12], "the rules of netfilter"),
    (libc::SYS_socket, &[libc::AF_NETLINK as i64, 3, 16], "generic netlink"),
    (libc::SYS_socket, &[libc::AF_NETLINK as i64, 3, 9], "the kernel's audit"),
    (libc::SYS_socket, &[libc::AF_ALG as i64, 5, 0], "the kernel's cryptography"),
    (libc::SYS_socket, &[libc::AF_VSOCK as i64, 1, 0], "other machines of a hypervisor"),
    (libc::SYS_socket, &[44, 3, 0], "AF_XDP"),
    (libc::SYS_socketpair, &[libc::AF_INET as i64, 1, 0], "no pair of these is needed"),
    (libc::SYS_setsockopt, &[-1, libc::IPPROTO_IP as i64, 64], "tables of netfilter"),
    (libc::SYS_setsockopt, &[-1, libc::IPPROTO_IPV6 as i64, 64], "the same"),
    (libc::SYS_clone, &[libc::SIGCHLD as i64], "a process"),
    (libc::SYS_clone, &[0x4100 | libc::SIGCHLD as i64], "a process, as posix_spawn makes it"),
    (libc::SYS_clone, &[THREAD | libc::CLONE_NEWUSER as i64], "a namespace of users"),
    (libc::SYS_clone, &[THREAD | libc::CLONE_NEWNS as i64], "a namespace of mounts"),
    (libc::SYS_setns, &[-1, libc::CLONE_NEWNS as i64], "mounts of others"),
    (libc::SYS_setns, &[-1, libc::CLONE_NEWUSER as i64], "users of others"),
    (libc::SYS_setns, &[-1, 0], "any namespace"),
    (libc::SYS_ioctl, &[-1, 0x5412], "typing at a terminal (TIOCSTI)"),
    (libc::SYS_ioctl, &[-1, 0xb702], "the parent of a namespace"),
    (libc::SYS_ioctl, &[-1, 0x8914], "switching interfaces off (SIOCSIFFLAGS)"),
    (libc::SYS_mmap, &[0, 4096, 7, 0x22, -1, 0], "code that is written at run time"),
    (libc::SYS_mmap, &[0, 4096, 6, 0x22, -1, 0], "the same"),
    (libc::SYS_mprotect, &[0, 4096, 5], "the same in two steps"),
    (libc::SYS_prctl, &[libc::PR_SET_MM as i64], "another name of the binary"),
    (libc::SYS_prctl, &[libc::PR_SET_DUMPABLE as i64, 1], "memory for others to read"),
    (libc::SYS_prctl, &[libc::PR_CAP_AMBIENT as i64], "capabilities for what is executed"),
    (libc::SYS_kill, &[1, 0], "signals to others"),
    (libc::SYS_kill, &[-1, 0], "signals to all"),
    (libc::SYS_tgkill, &[1, 1, 0], "signals to others"),
    (libc::SYS_prlimit64, &[1, 7, 0, 0], "limits of others"),
    (libc::SYS_bpf, &[36], "tokens"),
    (libc::SYS_bpf, &[37], "streams of programs"),
    (libc::SYS_mount, &[0, 0, 0, 0x2000, 0], "moving mounts"),
    (libc::SYS_mount, &[0, 0, 0, 1 << 20, 0], "sharing mounts"),
];

#[test]
fn arguments_that_are_not_the_daemons_end_the_process() {
    for (number, first, what_for) in ATTEMPTS {
        let mut arguments = [0; 6];
        arguments[..first.len()].copy_from_slice(first);
        let end = call(CageMode::On, true, *number, |_| arguments);
        assert_eq!(end, CallEnd::Killed, "call {number} {first:x?}: {what_for}");
    }
}

/// The kernel reads 32 bits of these arguments: other bits must not get a value past the filter.
#[test]
fn bits_that_the_kernel_does_not_read_change_nothing() {
    let high = 1 << 32;
    let packets = [libc::AF_PACKET as i64 | high, 3, 0, 0, 0, 0];
    assert_eq!(call(CageMode::On, false, libc::SYS_socket, |_| packets), CallEnd::Killed);
    let unix = [libc::AF_UNIX as i64 | high, 1, 0, 0, 0, 0];
    assert_eq!(call(CageMode::On, false, libc::SYS_socket, |_| unix), CallEnd::Made);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_other_numbers_of_a_processor_are_no_way_round() {
    for number in [libc::SYS_read, libc::SYS_execve, libc::SYS_ptrace] {
        let other = number | 0x4000_0000;
        assert_eq!(call(CageMode::On, false, other, |_| [0; 6]), CallEnd::Killed, "{other:#x}");
    }
}
