use std::os::fd::OwnedFd;

use super::perf;
use crate::{KernelError, SYSCALL_WRAPPERS};

/// Probes a system call of programs of this machine's native width.
pub fn probe(name: &str, on_return: bool) -> Result<OwnedFd, KernelError> {
    perf::kprobe(&format!("{}{name}", SYSCALL_WRAPPERS.unwrap_or("sys_")), 0, true, on_return)
}
