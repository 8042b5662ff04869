//! Tables of system calls, without any action.

pub mod arguments;
pub mod call;
pub mod groups;
pub mod refused;
pub mod workers;
