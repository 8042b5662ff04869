//! Kernel requirements of object files: types, helpers, functions, fields; the Linux version that introduced each,
//! whether it is a stable interface, and which ones a kernel lacks, by its BTF. No I/O.

mod hooks;
mod need;
mod of_object;
mod on_kernel;
mod since;

pub use need::{KernelNeed, NeedKind, ObjectNeeds};
pub use of_object::needs_of;
pub use on_kernel::{KernelView, Lack};
pub use since::{FirstLinux, LinuxVersion, SinceRow, attached_since, helper, rows, since};
