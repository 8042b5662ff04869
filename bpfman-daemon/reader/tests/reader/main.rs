//! Both ends of a reader: answers, memory and time limits.
#![allow(clippy::unwrap_used, reason = "tests")]

mod acting;
mod reader;
mod recent;
mod room;
mod start;
