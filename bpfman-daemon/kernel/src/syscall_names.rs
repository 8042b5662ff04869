/// Prefix of the functions that enter system calls (Linux 4.17; 64-bit ARM: 4.19); `None` on unknown machines.
pub const SYSCALL_WRAPPERS: Option<&str> = if cfg!(target_arch = "x86_64") {
    Some("__x64_sys_")
} else if cfg!(target_arch = "aarch64") {
    Some("__arm64_sys_")
} else {
    None
};
