//! Refused system calls: those that return ENOSYS, and samples of those that kill the process.

use super::call::{SystemCall, calls};

/// Calls that newer C libraries try first: after ENOSYS, they use older ones. Arguments of `clone3` cannot be filtered.
pub const UNKNOWN: &[SystemCall] = &[
    SystemCall::new(libc::SYS_clone3, "SYS_clone3"),
    SystemCall::new(libc::SYS_futex_waitv, "SYS_futex_waitv"),
    SystemCall::new(451, "SYS_cachestat"),
    SystemCall::new(452, "SYS_fchmodat2"),
    SystemCall::new(453, "SYS_map_shadow_stack"),
    SystemCall::new(454, "SYS_futex_wake"),
    SystemCall::new(455, "SYS_futex_wait"),
    SystemCall::new(456, "SYS_futex_requeue"),
    SystemCall::new(457, "SYS_statmount"),
    SystemCall::new(458, "SYS_listmount"),
    SystemCall::new(462, "SYS_mseal"),
];

/// Numbers after Linux 6.18 return ENOSYS: newer C libraries fall back. They are the same for all processors.
pub const LATER: std::ops::Range<i64> = 470..512;

/// Samples of forbidden calls that would be most useful to an attacker; a test tries these.
pub const FORBIDDEN: &[SystemCall] = calls![
    // Other programs and processes.
    SYS_execve,
    SYS_execveat,
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_pidfd_open,
    SYS_pidfd_getfd,
    SYS_pidfd_send_signal,
    SYS_kcmp,
    SYS_process_madvise,
    SYS_process_mrelease,
    SYS_tkill,
    SYS_rt_sigqueueinfo,
    SYS_rt_tgsigqueueinfo,
    SYS_setpriority,
    SYS_sched_setscheduler,
    SYS_sched_setattr,
    SYS_setpgid,
    SYS_setsid,
    SYS_wait4,
    SYS_waitid,
    // Other users and rights.
    SYS_setuid,
    SYS_setgid,
    SYS_setreuid,
    SYS_setregid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_personality,
    SYS_seccomp,
    // The kernel itself.
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_kexec_file_load,
    SYS_reboot,
    SYS_syslog,
    SYS_acct,
    SYS_quotactl,
    SYS_swapon,
    SYS_swapoff,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_vhangup,
    SYS_clock_settime,
    SYS_clock_adjtime,
    SYS_adjtimex,
    SYS_settimeofday,
    // Frequent sources of kernel vulnerabilities.
    SYS_userfaultfd,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_io_setup,
    SYS_io_submit,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_vmsplice,
    SYS_tee,
    SYS_remap_file_pages,
    SYS_mbind,
    SYS_set_mempolicy,
    SYS_migrate_pages,
    SYS_move_pages,
    SYS_shmget,
    SYS_shmat,
    SYS_msgget,
    SYS_semget,
    SYS_mq_open,
    SYS_memfd_secret,
    SYS_pkey_mprotect,
    SYS_timer_create,
    SYS_inotify_init1,
    SYS_setxattr,
    // Namespaces and mounts.
    SYS_unshare,
    SYS_chroot,
    SYS_pivot_root,
    SYS_open_tree,
    SYS_move_mount,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    SYS_chdir,
    SYS_fchdir,
    // Files without path lookup.
    SYS_name_to_handle_at,
    SYS_open_by_handle_at,
    SYS_fanotify_init,
    SYS_mknodat,
    SYS_symlinkat,
];

/// Further ones that newer processors lack.
#[cfg(target_arch = "x86_64")]
pub const FORBIDDEN_OLDER: &[SystemCall] = calls![
    SYS_fork,
    SYS_vfork,
    SYS_uselib,
    SYS_modify_ldt,
    SYS_iopl,
    SYS_ioperm,
    SYS_ustat,
    SYS_sysfs,
    SYS_mknod,
    SYS_symlink,
    SYS_signalfd,
    SYS_inotify_init,
    SYS_arch_prctl,
];
/// Further ones that newer processors lack.
#[cfg(not(target_arch = "x86_64"))]
pub const FORBIDDEN_OLDER: &[SystemCall] = &[];
