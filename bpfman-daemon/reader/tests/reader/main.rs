//! Both ends of a reader: the answers, the memory and the time that it may take.
#![allow(clippy::unwrap_used, reason = "tests")]

mod acting;
mod reader;
mod room;
mod start;
