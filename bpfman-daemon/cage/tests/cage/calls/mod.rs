//! The filters on the real kernel: a process that has put on the very same filters makes one call, and lives or dies.

mod arguments;
mod helpers;
mod process;
mod tables;
