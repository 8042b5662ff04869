//! The filters on the real kernel: a process that has put on the very same filters makes one call, and lives or dies.
#![allow(clippy::unwrap_used, reason = "tests")]

mod arguments;
mod helpers;
mod process;
mod tables;
