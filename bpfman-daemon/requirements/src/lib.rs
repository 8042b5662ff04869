//! What an object asks of a kernel: types, helpers, functions, fields. Since when Linux has each, which of it is no stable
//! interface, and what of it a kernel lacks, by that kernel's types. No I/O.

mod need;
mod of_object;
mod on_kernel;
mod program_types;
mod since;

pub use need::{KernelNeed, NeedKind, ObjectNeeds};
pub use of_object::needs_of;
pub use on_kernel::{KernelView, Lack};
pub use program_types::attached_since;
pub use since::{FirstLinux, LinuxVersion, SinceRow, helper, rows, since};
