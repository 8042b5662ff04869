//! Names of the functions at which kernels enter system calls.

/// Prefix of these names on this machine (Linux 4.17; of 64-bit ARM, 4.19). `None` on machines without known wrappers.
pub const SYSCALL_WRAPPERS: Option<&str> = if cfg!(target_arch = "x86_64") {
    Some("__x64_sys_")
} else if cfg!(target_arch = "aarch64") {
    Some("__arm64_sys_")
} else {
    None
};
