//! Sandbox of the privileged process, independent of how it was started.
//!
//! 1. [`drop_capabilities`], before the first thread starts: keeps those of [`KEPT`]; executed programs gain none.
//! 2. [`filter_calls`], once everything is mounted: all threads may make only the system calls of [`GROUPS`].
//! 3. [`WritableFolders`], for threads that process third-party requests: they write to their folders only.
//! 4. [`confine_worker`], in worker processes: no capabilities, no writes to files, and few system calls.
//!
//! A seccomp filter applies to the whole process and cannot be removed.

mod capabilities;
mod error;
mod files;
mod filter;
mod memory;
mod mode;
pub mod seccomp;
mod worker;

pub use capabilities::{Capabilities, KEPT, KeptCapability, check_user_namespace, drop_capabilities};
pub use error::CageError;
pub use files::{Landlock, WritableFolders};
pub use filter::{CallFilters, filter_calls};
pub use memory::{DEFAULT_MEMORY, limit_memory};
pub use mode::CageMode;
pub use seccomp::groups::{CallGroup, GROUPS};
pub use seccomp::refused::{FORBIDDEN, UNKNOWN};
pub use worker::{WorkerCage, WorkerRestrictions, WorkerRights, can_change_users, confine_worker};
