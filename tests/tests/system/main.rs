//! The system as its users meet it, on the kernel that is there.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod chains;
mod equipment;
mod kill;
mod types;
