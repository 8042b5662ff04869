//! System calls for which no library has a safe function.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use bpfman_model::FileReader;

use super::attr::{self, Attr, Command};

/// The kernel's internal "Not supported", for which the C library has no name.
pub const ENOTSUPP: i32 = 524;

pub fn bpf<A: Attr>(command: Command, attr: &mut A) -> io::Result<i64> {
    let asked = *attr;
    uninterrupted(command, attr, asked, |attr| {
        // SAFETY: `attr` is a live, exclusively borrowed structure of `size_of::<A>()` initialised bytes (trait Attr),
        // and the kernel reads and writes at most that many. Addresses inside it come from callers in the parent of
        // this module, which keep the buffers alive across the call.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command as i64, &raw mut *attr, size_of::<A>()) };
        if result >= 0 { Ok(result) } else { Err(io::Error::last_os_error()) }
    })
}

/// Repeats an interrupted call with the original request, which the kernel changes even on failure.
fn uninterrupted<A: Attr>(
    command: Command,
    attr: &mut A,
    asked: A,
    mut call: impl FnMut(&mut A) -> io::Result<i64>,
) -> io::Result<i64> {
    loop {
        let error = match call(attr) {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        match (command, error.raw_os_error()) {
            (_, Some(libc::EINTR)) => {}
            // A signal interrupted the verifier. For other commands EAGAIN is final, and may stay for minutes.
            (Command::ProgLoad, Some(libc::EAGAIN)) => {}
            _ => return Err(error),
        }
        *attr = asked;
    }
}

pub fn bpf_fd<A: Attr>(command: Command, attr: &mut A) -> io::Result<OwnedFd> {
    let fd = bpf(command, attr)?;
    // SAFETY: the command succeeded, so its answer is a new descriptor without another owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

pub fn info<A: Attr>(fd: impl AsFd, info: &mut A) -> io::Result<()> {
    let mut request = attr::InfoByFd {
        bpf_fd: fd.as_fd().as_raw_fd(),
        info_len: size_of::<A>() as u32,
        info: (&raw mut *info) as u64,
    };
    bpf(Command::ObjGetInfoByFd, &mut request).map(drop)
}

/// Second version of `struct perf_event_attr`, 72 bytes, up to `config2`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct PerfEventAttr {
    pub event_type: u32,
    /// Filled in by [`perf_event_open`].
    pub size: u32,
    pub config: u64,
    pub(super) sample_period: u64,
    pub(super) sample_type: u64,
    pub(super) read_format: u64,
    pub(super) flags: u64,
    pub(super) wakeup_events: u32,
    pub(super) bp_type: u32,
    /// Address of the symbol or path of a probe.
    pub config1: u64,
    pub config2: u64,
}

/// `pid` -1 means every process; then `cpu` must name one. Probes fire on all CPUs.
pub fn perf_event_open(mut event: PerfEventAttr, pid: i32, cpu: i32) -> io::Result<OwnedFd> {
    event.size = size_of::<PerfEventAttr>() as u32;
    const CLOSE_ON_EXEC: u64 = 8;
    // SAFETY: `event` is an initialised structure of the size in its `size` field and outlives the call; the caller
    // keeps the string that `config1` points to.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw const event, pid, cpu, -1_i32, CLOSE_ON_EXEC)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so its answer is a new descriptor without another owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Returns 0 before Linux 5.14.
pub fn netns_cookie(socket: impl AsFd) -> u64 {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: both pointers are to live locals, and `length` is the size of the first.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            71, // SO_NETNS_COOKIE
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { cookie } else { 0 }
}

/// Adds the kernel's reasons as text to errors of a netlink socket, if supported.
pub fn explain_errors(socket: &OwnedFd) {
    const NETLINK_EXT_ACK: libc::c_int = 11;
    let on: libc::c_int = 1;
    // SAFETY: the pointer is to a live local of the length that is given.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            NETLINK_EXT_ACK,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        );
    }
}

/// Returns the bytes of kernel memory of data unread by the other end of a unix socket.
pub fn unread_by_peer(socket: impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ, which has the number of TIOCOUTQ, writes one `int`, and the pointer is to a live one.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(usize::try_from(bytes).unwrap_or(0)) }
}

/// Gives this thread alone the caller's ids for file access. A C library would make these calls for all threads.
pub fn become_caller(caller: &FileReader) -> io::Result<()> {
    // The kernel removes root's rights to files from a thread with another file-system user.
    let groups = &caller.groups;
    // SAFETY: the pointer and the number are those of a live vector, which the kernel only reads.
    if unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    for (call, id) in [(libc::SYS_setfsgid, caller.gid), (libc::SYS_setfsuid, caller.uid)] {
        // Both calls return the previous id even if they fail: a second call, with an invalid id, returns the id in
        // force. SAFETY: neither call touches memory of this process.
        let now = unsafe {
            libc::syscall(call, id);
            libc::syscall(call, u32::MAX)
        };
        if now != i64::from(id) {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
    }
    Ok(())
}

/// Calls faccessat2(2) with this thread's file-system user and groups, which functions of C libraries ignore.
pub fn access(path: &Path, read: bool) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mode = if read { libc::R_OK } else { libc::F_OK };
    // SAFETY: the path is a live string that ends with a zero byte, which the kernel only reads.
    let answer =
        unsafe { libc::syscall(libc::SYS_faccessat2, libc::AT_FDCWD, path.as_ptr(), mode, libc::AT_EACCESS) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Opens the user namespace that owns a namespace. Fails with EPERM if it is outside of this process's own.
pub fn owner_of_namespace(namespace: impl AsFd) -> io::Result<OwnedFd> {
    const NS_GET_USERNS: libc::Ioctl = 0xb701;
    // SAFETY: the request takes no argument and touches no memory of this process.
    let fd = unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), NS_GET_USERNS) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so its answer is a new descriptor without another owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Returns for each socket whether it can be read, once one can, or after the timeout or a signal.
pub fn readable<'a>(sockets: impl Iterator<Item = &'a OwnedFd>, timeout: Duration) -> io::Result<Vec<bool>> {
    let mut polled: Vec<libc::pollfd> = sockets
        .map(|socket| libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    let milliseconds = libc::c_int::try_from(timeout.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the pointer and the number are those of a live vector that is used by this call alone.
    let result = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, milliseconds) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::EINTR) {
            Ok(vec![false; polled.len()])
        } else {
            Err(error)
        };
    }
    Ok(polled.into_iter().map(|polled| polled.revents != 0).collect())
}

/// Returns free memory of the allocator to the kernel.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim has no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Closes all descriptors but the first three on execve(2), even those passed on by the parent.
pub fn close_on_execute() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if number > 2 {
            // SAFETY: F_SETFD changes a flag of an entry in the table of descriptors, and touches no memory. The kernel
            // refuses numbers that are not in use.
            unsafe {
                libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_a_signal_interrupts_is_asked_for_whole_again() {
        let mut request = attr::MapBatch { count: 256, ..Default::default() };
        let (asked, mut counts) = (request, Vec::new());
        let answer = uninterrupted(Command::MapLookupBatch, &mut request, asked, |attr| {
            counts.push(attr.count);
            // The kernel sets the count to the number of entries that it read.
            attr.count = 3;
            match counts.len() {
                1 => Err(io::Error::from_raw_os_error(libc::EINTR)),
                _ => Ok(0),
            }
        });
        assert_eq!((answer.unwrap(), counts, request.count), (0, vec![256, 256], 3));
        let failed = uninterrupted(Command::MapLookupBatch, &mut request, asked, |attr| {
            attr.count = 7;
            Err(io::Error::from_raw_os_error(libc::ENOENT))
        });
        // At the end of the map the kernel reports the number of entries of the last batch.
        assert_eq!((failed.unwrap_err().raw_os_error(), request.count), (Some(libc::ENOENT), 7));
    }
    fn calls(command: Command) -> (usize, io::Result<i64>) {
        let (mut request, mut calls) = (attr::ById::default(), 0);
        let answer = uninterrupted(command, &mut request, attr::ById::default(), |_| {
            calls += 1;
            if calls == 1 { Err(io::Error::from_raw_os_error(libc::EAGAIN)) } else { Ok(0) }
        });
        (calls, answer)
    }

    #[test]
    fn only_a_load_is_asked_for_again_where_the_kernel_says_so() {
        let (count, answer) = calls(Command::ProgLoad);
        assert_eq!((count, answer.unwrap()), (2, 0));
        for command in [Command::LinkGetFdById, Command::MapUpdateElem, Command::LinkCreate] {
            let (count, answer) = calls(command);
            assert_eq!((count, answer.unwrap_err().raw_os_error()), (1, Some(libc::EAGAIN)));
        }
    }
}
