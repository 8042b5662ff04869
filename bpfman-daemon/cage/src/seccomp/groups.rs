//! Allowed system calls, as in `docs/cage.md` (tested), with those of any C library; see [`super::arguments`].

use super::call::{SystemCall, calls};

/// Calls for one purpose.
#[derive(Clone, Copy, Debug)]
pub struct CallGroup {
    pub reason: &'static str,
    pub calls: &'static [SystemCall],
    /// Equivalent calls that only older processors have.
    pub older: &'static [SystemCall],
}

impl CallGroup {
    pub fn all(&self) -> impl Iterator<Item = &'static SystemCall> + use<> {
        self.calls.iter().chain(self.older)
    }
}

#[cfg(target_arch = "x86_64")]
macro_rules! older {
    ($($constant:ident),* $(,)?) => {
        $crate::seccomp::call::calls![$($constant),*]
    };
}
#[cfg(not(target_arch = "x86_64"))]
macro_rules! older {
    ($($constant:ident),* $(,)?) => {
        &[]
    };
}
pub(crate) use older;

/// Calls allowed in every daemon.
pub const GROUPS: &[CallGroup] = &[
    CallGroup {
        reason: "files: the store, bytecode, images, pins, what clients name, what the kernel shows in /proc and /sys",
        calls: calls![
            SYS_openat,
            SYS_openat2,
            SYS_close,
            SYS_close_range,
            SYS_read,
            SYS_readv,
            SYS_pread64,
            SYS_preadv,
            SYS_preadv2,
            SYS_write,
            SYS_writev,
            SYS_pwrite64,
            SYS_pwritev,
            SYS_pwritev2,
            SYS_lseek,
            SYS_fstat,
            SYS_newfstatat,
            SYS_statx,
            SYS_statfs,
            SYS_fstatfs,
            SYS_getdents64,
            SYS_readlinkat,
            SYS_faccessat,
            SYS_faccessat2,
            SYS_mkdirat,
            SYS_unlinkat,
            SYS_linkat,
            SYS_renameat,
            SYS_renameat2,
            SYS_ftruncate,
            SYS_fallocate,
            SYS_fadvise64,
            SYS_fsync,
            SYS_fdatasync,
            SYS_sync_file_range,
            SYS_flock,
            SYS_fcntl,
            SYS_fchmod,
            SYS_fchmodat,
            SYS_fchown,
            SYS_fchownat,
            SYS_utimensat,
            SYS_umask,
            SYS_getcwd,
            SYS_dup,
            SYS_dup3,
            SYS_copy_file_range,
            SYS_sendfile,
            SYS_splice,
            SYS_memfd_create,
        ],
        older: older![
            SYS_open,
            SYS_stat,
            SYS_lstat,
            SYS_access,
            SYS_readlink,
            SYS_mkdir,
            SYS_rmdir,
            SYS_unlink,
            SYS_link,
            SYS_rename,
            SYS_getdents,
            SYS_chmod,
            SYS_chown,
            SYS_lchown,
            SYS_dup2,
            SYS_utimes,
        ],
    },
    CallGroup {
        reason: "sockets: clients, readers of metrics, registries, names, the service manager, netlink",
        calls: calls![
            SYS_socket,
            SYS_socketpair,
            SYS_bind,
            SYS_listen,
            SYS_accept,
            SYS_accept4,
            SYS_connect,
            SYS_getsockname,
            SYS_getpeername,
            SYS_getsockopt,
            SYS_setsockopt,
            SYS_sendto,
            SYS_recvfrom,
            SYS_sendmsg,
            SYS_recvmsg,
            SYS_sendmmsg,
            SYS_recvmmsg,
            SYS_shutdown,
        ],
        older: &[],
    },
    CallGroup {
        reason: "waiting and signals",
        calls: calls![
            SYS_ppoll,
            SYS_pselect6,
            SYS_epoll_create1,
            SYS_epoll_ctl,
            SYS_epoll_pwait,
            SYS_epoll_pwait2,
            SYS_eventfd2,
            SYS_pipe2,
            SYS_rt_sigaction,
            SYS_rt_sigprocmask,
            SYS_rt_sigreturn,
            SYS_rt_sigtimedwait,
            SYS_rt_sigpending,
            SYS_sigaltstack,
            SYS_restart_syscall,
            SYS_kill,
            SYS_tgkill,
        ],
        older: older![SYS_poll, SYS_select, SYS_epoll_create, SYS_epoll_wait, SYS_eventfd, SYS_pipe],
    },
    CallGroup {
        reason: "memory",
        calls: calls![SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_brk, SYS_membarrier],
        older: &[],
    },
    CallGroup {
        reason: "threads, and the end of them",
        calls: calls![
            SYS_clone,
            SYS_futex,
            SYS_set_robust_list,
            SYS_get_robust_list,
            SYS_rseq,
            SYS_set_tid_address,
            SYS_sched_yield,
            SYS_sched_getaffinity,
            SYS_sched_getparam,
            SYS_sched_getscheduler,
            SYS_getcpu,
            SYS_gettid,
            SYS_getpid,
            SYS_getppid,
            SYS_prctl,
            SYS_exit,
            SYS_exit_group,
        ],
        older: &[],
    },
    CallGroup {
        reason: "time, where the kernel does not tell it without a call; random numbers; facts of the machine and of limits",
        calls: calls![
            SYS_clock_gettime,
            SYS_clock_getres,
            SYS_clock_nanosleep,
            SYS_nanosleep,
            SYS_gettimeofday,
            SYS_getrandom,
            SYS_uname,
            SYS_sysinfo,
            SYS_getrusage,
            SYS_prlimit64,
            SYS_getrlimit,
            SYS_setrlimit,
        ],
        older: older![SYS_time],
    },
    CallGroup {
        reason: "a thread that asks what a client could open: its user and groups for files; no thread's user changes",
        calls: calls![
            SYS_getuid,
            SYS_geteuid,
            SYS_getgid,
            SYS_getegid,
            SYS_getresuid,
            SYS_getresgid,
            SYS_getgroups,
            SYS_setgroups,
            SYS_setfsuid,
            SYS_setfsgid,
            SYS_capget,
        ],
        older: &[],
    },
    CallGroup {
        reason: "threads that give up more: where they may write; capabilities, of which it regains none",
        calls: calls![
            SYS_landlock_create_ruleset,
            SYS_landlock_add_rule,
            SYS_landlock_restrict_self,
            SYS_capset,
        ],
        older: &[],
    },
    CallGroup {
        reason: "its work: programs, maps and links; perf events; network namespaces; requests to descriptors",
        calls: calls![SYS_bpf, SYS_perf_event_open, SYS_setns, SYS_ioctl],
        older: &[],
    },
];

/// Further calls allowed with the CSI driver.
pub const MOUNTING: CallGroup =
    CallGroup { reason: "volumes of pods", calls: calls![SYS_mount, SYS_umount2], older: &[] };
