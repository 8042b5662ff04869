//! Life of the processes of a session.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};

/// `CLONE_INTO_CGROUP`, wider than the constant of the crate `libc`.
const INTO_CGROUP: u64 = 1 << 33;

/// User and groups of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

fn check(result: i64) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Forks this process, which must have one thread. `None` in the child.
pub fn fork() -> io::Result<Option<u32>> {
    // SAFETY: callers have one thread, so the child holds no lock of another one and may call anything.
    let child = unsafe { libc::fork() };
    match u32::try_from(child) {
        Ok(0) => Ok(None),
        Ok(child) => Ok(Some(child)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Forks this process, which must have one thread, into a cgroup of version 2. `None` in the new process, whose parent is the
/// machine's first one. A process that is moved there later waits until the kernel has seen every CPU idle or switch.
///
/// # Errors
/// The kernel refuses the cgroup, such as one that enables controllers for its children.
pub fn fork_into(group: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    // SAFETY: the structure has numbers alone.
    let mut new: libc::clone_args = unsafe { std::mem::zeroed() };
    new.flags = INTO_CGROUP;
    new.exit_signal = libc::SIGCHLD as u64;
    new.cgroup = group.as_raw_fd() as u64;
    // SAFETY: the structure is live and names no memory; the child has a copy of this one, and its stack.
    let child = unsafe { libc::syscall(libc::SYS_clone3, &raw const new, size_of_val(&new)) };
    match u32::try_from(child) {
        // SAFETY: until this fork, the C library's state is a copy of the parent's. The parent has one thread, so no other
        // thread can hold a lock in the copy.
        Ok(0) => match unsafe { libc::fork() } {
            0 => Ok(None),
            // SAFETY: ends this process, without anything of the parent's.
            other => unsafe { libc::_exit(i32::from(other < 0)) },
        },
        Ok(child) => Ok(Some(child)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Becomes a user for ever: real, effective, saved and file-system ids, with an empty keyring. The kernel takes all
/// capabilities, unless the user is root.
pub fn become_user(rights: &Rights) -> io::Result<()> {
    let Rights { uid, gid, groups } = rights;
    // SAFETY: the pointer and the number are those of a live vector, which the kernel only reads.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    // SAFETY: these calls take numbers.
    check(unsafe { libc::syscall(libc::SYS_setresgid, *gid, *gid, *gid) })?;
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_setresuid, *uid, *uid, *uid) })?;
    // The service's keyring has keys of root, or of other users' sessions.
    // SAFETY: the option takes a null pointer.
    let keyring = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, 0) };
    match io::Error::last_os_error() {
        error if keyring < 0 && error.raw_os_error() != Some(libc::ENOSYS) => Err(error),
        _ => Ok(()),
    }
}

/// Begins a session of processes without a terminal.
pub fn start_session() -> io::Result<()> {
    // SAFETY: the call takes nothing.
    if unsafe { libc::setsid() } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes this process the parent of its descendants whose parents end.
pub fn set_child_subreaper() -> io::Result<()> {
    // SAFETY: the option takes numbers.
    check(i64::from(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }))
}

/// Closes all descriptors above the standard ones but these.
pub fn close_all_but(kept: &[RawFd]) -> io::Result<()> {
    let mut kept: Vec<u32> =
        kept.iter().filter_map(|number| u32::try_from(*number).ok()).filter(|number| *number > 2).collect();
    kept.sort_unstable();
    let mut from = 3;
    for number in kept.into_iter().chain([u32::MAX]) {
        if number > from {
            let last = if number == u32::MAX { u32::MAX } else { number - 1 };
            // SAFETY: close_range(2) touches no memory. The callers, after a fork, drop no owner of these descriptors.
            check(unsafe { libc::syscall(libc::SYS_close_range, from, last, 0) })?;
        }
        from = number.saturating_add(1);
    }
    Ok(())
}

/// Gives this process a mount namespace of its own. It must have one thread.
pub fn own_mounts() -> io::Result<()> {
    // SAFETY: the call takes a number; only this thread's view of files changes.
    check(i64::from(unsafe { libc::unshare(libc::CLONE_NEWNS) }))
}

/// Has the kernel reap children of this process, or keep them until it waits for them.
pub fn reap_children_by_kernel(by_kernel: bool) {
    let action = if by_kernel { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: neither action runs code of this process.
    unsafe {
        libc::signal(libc::SIGCHLD, action);
    }
}

/// Sends a signal to a process group that this process started and has not reaped.
pub fn signal_group(leader: u32, signal: i32) -> io::Result<()> {
    // SAFETY: the call takes numbers.
    check(i64::from(unsafe { libc::kill(-(leader as i32), signal) }))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildEnd {
    /// The child, which stays until it is reaped.
    pub process: u32,
    /// Exit status, or the signal that killed it.
    pub status: Result<i32, i32>,
}

/// Waits for the end of a child, without reaping it.
///
/// # Errors
/// `ECHILD` if this process has no child, `EINTR`.
pub fn end_of_child() -> io::Result<ChildEnd> {
    // SAFETY: the structure has numbers and a pointer that nothing here follows; zeroes are valid for all.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is live and exclusively borrowed.
    check(i64::from(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, libc::WEXITED | libc::WNOWAIT) }))?;
    // SAFETY: the call succeeded for a child that ended, for which the kernel fills in both.
    let (process, status) = unsafe { (info.si_pid().cast_unsigned(), info.si_status()) };
    let status = if info.si_code == libc::CLD_EXITED { Ok(status) } else { Err(status) };
    Ok(ChildEnd { process, status })
}
