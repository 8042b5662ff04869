//! The client against a daemon that tests play, and what its documentation promises.
#![allow(clippy::unwrap_used, reason = "tests")]

mod answers;
mod chains;
mod dependencies;
mod documentation;
mod failures;
mod fake;
mod images;
mod terminal;
