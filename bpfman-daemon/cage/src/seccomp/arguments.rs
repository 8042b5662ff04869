//! Restrictions of arguments: numbers of 32 bits, as in the kernel. A filter does not see memory.

use std::collections::BTreeMap;

/// Condition on an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Index of the argument, from 0.
    pub place: u8,
    pub mask: u32,
    /// Expected value of these bits.
    pub value: u32,
}

/// Conditions that must all hold.
pub type Arguments = Vec<Argument>;

fn is(place: u8, value: i32) -> Argument {
    Argument { place, mask: u32::MAX, value: value.cast_unsigned() }
}

const fn bits(place: u8, mask: u32, value: u32) -> Argument {
    Argument { place, mask, value }
}

/// Commands of bpf(2) that the daemon uses: no tokens, and no streams. A test compares their names.
pub const BPF_COMMANDS: [i32; 33] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 23, 24, 26, 28, 29, 30, 31,
    32, 33, 34, 35,
];

/// `NETLINK_ROUTE`: interfaces, XDP and TC, and address lookups of the C library.
const NETLINK_ROUTE: i32 = 0;
const SOL_NETLINK: i32 = 270;
/// `NS_GET_USERNS`, and `NS_GET_NSTYPE` beside it.
const NAMESPACE_REQUESTS: [i32; 2] = [0xb701, 0xb703];
/// `SIOCGIFNAME`, `SIOCGIFINDEX`: names and indexes of interfaces.
const INTERFACE_REQUESTS: [i32; 2] = [0x8910, 0x8933];
/// `SIOCOUTQ`: bytes that the peer of a unix socket has not read yet; `SIOCGSKNS`: the network namespace of a socket.
const SOCKET_REQUESTS: [i32; 2] = [0x5411, 0x894c];
/// `TCGETS` (terminal detection); `FIOCLEX`, `FIONCLEX`, `FIONBIO`, `FIONREAD`; `FICLONE` (copies).
const FILE_REQUESTS: [i32; 6] = [0x5401, 0x5451, 0x5450, 0x5421, 0x541b, 0x4004_9409];
/// `PR_SET_NAME`, `PR_GET_NAME`, `PR_GET_SECCOMP`, `PR_CAPBSET_READ`, `PR_GET_NO_NEW_PRIVS`, `PR_SET_VMA` (C library).
const PROCESS_REQUESTS: [i32; 6] = [15, 16, 21, 23, 39, 0x5356_4d41];
/// All flags of `clone` that create a namespace: user, process, network, and so on.
const NEW_NAMESPACES: u32 = 0x7e02_0080;
/// `MS_MOVE`, and the flags that change mount propagation.
const MOVE_OR_SHARE: u32 = 0x2000 | (1 << 17) | (1 << 18) | (1 << 19) | (1 << 20);

/// Returns the allowed arguments by call; calls that are not listed are unrestricted. `own` is the filtered process.
#[must_use]
pub fn narrowed(own: u32) -> BTreeMap<i64, Vec<Arguments>> {
    let own = own.cast_signed();
    let any_of = |place: u8, values: &[i32]| values.iter().map(|value| vec![is(place, *value)]).collect();
    let stream_or_datagram = |family| {
        [libc::SOCK_STREAM, libc::SOCK_DGRAM].map(|kind| vec![is(0, family), bits(1, 0xf, kind as u32)])
    };
    let mut sockets: Vec<Arguments> = vec![
        vec![is(0, libc::AF_UNIX)],
        // No netfilter, audit, crypto or generic netlink.
        vec![is(0, libc::AF_NETLINK), is(2, NETLINK_ROUTE)],
    ];
    // No raw sockets, so no forged packets, and no netfilter options.
    sockets.extend(stream_or_datagram(libc::AF_INET));
    sockets.extend(stream_or_datagram(libc::AF_INET6));
    let execute = libc::PROT_EXEC as u32;
    let write = libc::PROT_WRITE as u32;
    BTreeMap::from([
        (libc::SYS_socket, sockets),
        (libc::SYS_socketpair, vec![vec![is(0, libc::AF_UNIX)]]),
        (
            // Not the tables of netfilter, which CAP_NET_ADMIN may replace through options of any socket.
            libc::SYS_setsockopt,
            vec![
                vec![is(1, libc::SOL_SOCKET)],
                vec![is(1, libc::IPPROTO_TCP)],
                vec![is(1, SOL_NETLINK)],
                vec![is(1, libc::IPPROTO_IP), is(2, libc::IP_RECVERR)],
                vec![is(1, libc::IPPROTO_IPV6), is(2, libc::IPV6_RECVERR)],
                vec![is(1, libc::IPPROTO_IPV6), is(2, libc::IPV6_V6ONLY)],
            ],
        ),
        // Signals to itself, sent by abort() and by a debug build that terminates.
        (libc::SYS_kill, vec![vec![is(0, own)]]),
        (libc::SYS_tgkill, vec![vec![is(0, own)]]),
        // Memory is writable or executable, never both.
        (libc::SYS_mmap, vec![vec![bits(2, execute, 0)], vec![bits(2, execute | write, execute)]]),
        (libc::SYS_mprotect, vec![vec![bits(2, execute, 0)]]),
        // Threads of this process, no processes.
        (
            libc::SYS_clone,
            vec![vec![bits(0, NEW_NAMESPACES | libc::CLONE_THREAD as u32, libc::CLONE_THREAD as u32)]],
        ),
        (libc::SYS_prctl, any_of(0, &PROCESS_REQUESTS)),
        (libc::SYS_prlimit64, vec![vec![is(0, 0)], vec![is(0, own)]]),
        (libc::SYS_bpf, any_of(0, &BPF_COMMANDS)),
        (libc::SYS_setns, vec![vec![is(1, libc::CLONE_NEWNET)]]),
        (
            libc::SYS_ioctl,
            any_of(
                1,
                &[&FILE_REQUESTS[..], &SOCKET_REQUESTS, &INTERFACE_REQUESTS, &NAMESPACE_REQUESTS].concat(),
            ),
        ),
        (libc::SYS_mount, vec![vec![bits(3, MOVE_OR_SHARE, 0)]]),
    ])
}

/// Returns further restrictions for worker processes: no writes, and no signals to descriptors' owners.
#[must_use]
pub fn of_workers() -> BTreeMap<i64, Vec<Arguments>> {
    const WRITING: u32 =
        (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;
    BTreeMap::from([
        (libc::SYS_openat, vec![vec![bits(2, WRITING, 0)]]),
        (
            libc::SYS_fcntl,
            vec![
                vec![is(1, libc::F_GETFD)],
                vec![is(1, libc::F_SETFD)],
                vec![is(1, libc::F_GETFL)],
                vec![is(1, libc::F_DUPFD_CLOEXEC)],
                vec![is(1, libc::F_SETFL), bits(2, libc::O_ASYNC as u32, 0)],
            ],
        ),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_open, vec![vec![bits(1, WRITING, 0)]]),
    ])
}

/// Description of [`narrowed`] for the documentation, by call name.
pub const NARROWED: [(&str, &str); 14] = [
    ("bpf", "the commands that the daemon gives: objects and links, no tokens"),
    ("clone", "threads of this process: no processes, no namespaces"),
    (
        "ioctl",
        "modes of descriptors, what a client has not read, namespaces of sockets, names and numbers of interfaces, owners of namespaces",
    ),
    ("kill", "this process"),
    ("mmap", "never writable and executable at once"),
    ("mount", "no moving, no change of how a mount is shared"),
    ("mprotect", "never executable"),
    ("prctl", "names, and questions"),
    ("prlimit64", "this process"),
    ("setns", "network namespaces"),
    ("setsockopt", "levels of sockets, TCP and netlink; errors of IP; no tables of netfilter"),
    ("socket", "unix; IP for streams and datagrams, never raw; netlink for interfaces (`NETLINK_ROUTE`)"),
    ("socketpair", "unix"),
    ("tgkill", "this process"),
];
