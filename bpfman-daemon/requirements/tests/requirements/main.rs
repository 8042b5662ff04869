//! The needs of objects, and the kernels that meet them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod needs;
mod since;
