//! Patterns that several fields share.

/// At least three characters. The end is not anchored, so that `syscalls/sys_enter_openat` matches.
pub const NAME: &str = r"^[a-zA-Z][a-zA-Z0-9_]+.";

/// Image references; not anchored.
pub const IMAGE: &str = r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}";

/// Absolute paths.
pub const PATH: &str = r"^(/[^/\0]+)+/?$";
