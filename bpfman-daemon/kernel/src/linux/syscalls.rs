//! System calls, by the functions at which kernels enter them.

use std::os::fd::OwnedFd;

use super::perf;
use crate::{KernelError, SYSCALL_WRAPPERS};

/// Opens a probe of a system call, for programs of the native width of this machine.
pub fn probe(name: &str, on_return: bool) -> Result<OwnedFd, KernelError> {
    perf::kprobe(&format!("{}{name}", SYSCALL_WRAPPERS.unwrap_or("sys_")), 0, true, on_return)
}
