//! Filters on the real kernel: a process installs the same filters and makes one call.

mod arguments;
mod process;
mod tables;
mod workers;
