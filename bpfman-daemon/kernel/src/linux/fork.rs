use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, kill_process, set_dumpable_behavior, waitpid,
};

const LAST_SIGNAL: i32 = 64;

/// A child process.
#[derive(Debug)]
pub struct ForkedProcess(Option<Pid>);

impl ForkedProcess {
    /// Kills and reaps the process, once.
    pub fn end(&mut self) {
        // Its pid stays reserved until it is reaped.
        let Some(pid) = self.0.take() else { return };
        let _gone = kill_process(pid, Signal::KILL);
        while matches!(waitpid(Some(pid), WaitOptions::empty()), Err(rustix::io::Errno::INTR)) {}
    }
}

/// Forks this process, which must be single-threaded: the copy could never acquire other threads' locks. As after
/// execve(2), the copy has only these descriptors and default signal actions (except faults), and can be dumped. `None`
/// in the child, which must end with `std::process::exit`: objects that it drops are also its parent's.
pub fn fork_alone(standard: [OwnedFd; 3]) -> io::Result<Option<ForkedProcess>> {
    // Links of this folder are `.`, the `..` of each subfolder, and the parent's entry: one subfolder per thread.
    if fs::metadata("/proc/self/task")?.nlink() != 3 {
        return Err(io::Error::other("a process of several threads is not copied"));
    }
    // SAFETY: there is one thread, so the copy holds no lock that another thread would have to release, and may call
    // anything.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid > 0 {
        return Ok(Some(ForkedProcess(Pid::from_raw(pid))));
    }
    if begin_copy(standard).is_err() {
        // SAFETY: _exit(2) has no preconditions, and runs nothing of this process.
        unsafe { libc::_exit(1) }
    }
    Ok(None)
}

fn begin_copy(standard: [OwnedFd; 3]) -> io::Result<()> {
    for (number, descriptor) in (0..).zip(&standard) {
        // SAFETY: dup2(2) changes the table of descriptors. Numbers 0 to 2 are the standard ones, which have no owner.
        if unsafe { libc::dup2(descriptor.as_raw_fd(), number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    std::mem::forget(standard);
    close_above(2)?;
    (1..=LAST_SIGNAL).for_each(reset);
    // Only now, with the parent's descriptors closed: a process that traces the copy could use them.
    Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}

/// Closes all descriptors above `last`, whose owners must never be dropped.
fn close_above(last: i32) -> io::Result<()> {
    // SAFETY: close_range(2) touches no memory; the copy does not use the descriptors of its parent.
    if unsafe { libc::syscall(libc::SYS_close_range, last + 1, u32::MAX, 0) } == 0 {
        return Ok(());
    }
    // Linux before 5.9 lacks close_range(2). A process that cannot be dumped may not list its own descriptors.
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    let numbers: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > last)
        .collect();
    for number in numbers {
        // SAFETY: as for close_range(2). The listed folder's own descriptor is closed already: the kernel refuses it.
        unsafe {
            libc::close(number);
        }
    }
    Ok(())
}

/// Resets a signal to its default action. Memory faults keep their handlers: the copy has the same memory.
fn reset(signal: i32) {
    if matches!(signal, libc::SIGSEGV | libc::SIGBUS) {
        return;
    }
    // SAFETY: all zeroes are a valid `sigaction`; pointers are to live locals or null; the kernel refuses bad numbers.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let known = libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0;
        if known && ![libc::SIG_DFL, libc::SIG_IGN].contains(&action.sa_sigaction) {
            action = std::mem::zeroed();
            action.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test processes have several threads; tests of the daemon's processes cover the copy.
    #[test]
    fn process_of_several_threads_is_not_copied() {
        let null = || OwnedFd::from(fs::File::open("/dev/null").unwrap());
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv());
        let error = fork_alone([null(), null(), null()]).unwrap_err();
        assert!(error.to_string().contains("several threads"), "{error}");
        drop(stop);
        assert!(other.join().unwrap().is_err());
    }
}
