//! System calls that the receiver may make: it reads what a hostile command wrote.

use bpfmand_notify::{Assembler, Condition, Verdict, confine};
use rustix::fs::OFlags;

/// Calls for messages, copies of callers' memory and descriptors, threads, and the end of the command. The
/// receiver executes nothing, connects to nothing, and writes no file.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_accept4,
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_ioctl,
    libc::SYS_kill,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_openat2,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_open,
    libc::SYS_ppoll,
    libc::SYS_prctl,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_socketpair,
    libc::SYS_statx,
    libc::SYS_tgkill,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Confines this process, which has one thread, to these calls. Any other one ends it.
pub fn enter() -> std::io::Result<()> {
    let mut filter = Assembler::new();
    for call in ALLOWED {
        filter.rule(*call, &[], Verdict::Allow);
    }
    #[cfg(target_arch = "x86_64")]
    for call in [libc::SYS_poll, libc::SYS_readlink] {
        filter.rule(call, &[], Verdict::Allow);
    }
    let executable = libc::PROT_EXEC as u32;
    for protection in 0..executable {
        filter.rule(libc::SYS_mprotect, &[(2, Condition::Is(protection))], Verdict::Allow);
    }
    for access in [OFlags::RDONLY, OFlags::PATH] {
        for more in [OFlags::empty(), OFlags::LARGEFILE] {
            let flags = access | more | OFlags::CLOEXEC;
            filter.rule(libc::SYS_openat, &[(2, Condition::Is(flags.bits()))], Verdict::Allow);
        }
    }
    confine(&filter.end(Verdict::Kill))
}
