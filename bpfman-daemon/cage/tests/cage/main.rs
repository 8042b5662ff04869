//! The sandbox on the real kernel, and the files that describe it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod calls;
mod documentation;
mod folders;
mod unit;
