//! System calls, by the functions at which kernels enter them.

use std::os::fd::OwnedFd;

use super::perf;
use crate::KernelError;

/// What the name of a system call's function begins with on this machine (Linux 4.17; of 64-bit ARM, 4.19).
const PREFIX: &str = if cfg!(target_arch = "x86_64") {
    "__x64_sys_"
} else if cfg!(target_arch = "aarch64") {
    "__arm64_sys_"
} else {
    "sys_"
};

/// Opens a probe of a system call: of the one for programs of this machine's own width.
pub fn probe(name: &str, on_return: bool) -> Result<OwnedFd, KernelError> {
    perf::kprobe(&format!("{PREFIX}{name}"), 0, on_return)
}
