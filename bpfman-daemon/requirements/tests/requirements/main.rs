//! Requirements of objects, and kernels that meet them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod needs;
mod since;
