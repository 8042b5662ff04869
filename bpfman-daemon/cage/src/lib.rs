//! What the privileged process gives up, whoever started it.
//!
//! 1. [`drop_capabilities`], before the first thread is started: the capabilities of [`KEPT`] stay, all others go, and
//!    nothing that is executed ever gets more (`no_new_privs`).
//! 2. [`filter_calls`], once everything is mounted: all threads may make the system calls of [`GROUPS`], and no others.
//! 3. [`WritableFolders`], for threads that work for strangers: they write to their folders only.
//! 4. [`confine_helper`], in processes for images and objects: no capability, no user, and a table of calls of their own.
//!
//! A filter of calls holds for the whole process and can never be taken off.

mod capabilities;
mod error;
mod files;
mod filter;
mod helper;
mod memory;
mod mode;
pub mod seccomp;

pub use capabilities::{Capabilities, KEPT, KeptCapability, drop_capabilities};
pub use error::CageError;
pub use files::{Landlock, WritableFolders};
pub use filter::{CallFilters, filter_calls};
pub use helper::{HelperCage, HelperRights, can_change_users, confine_helper};
pub use memory::{DEFAULT_MEMORY, limit_memory};
pub use mode::CageMode;
pub use seccomp::groups::{CallGroup, GROUPS};
pub use seccomp::refused::{FORBIDDEN, UNKNOWN};
