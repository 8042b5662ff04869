//! The journal on a disk, written and read.
#![allow(clippy::unwrap_used, reason = "tests")]

mod forward;
mod journal;
mod lost_accesses;
