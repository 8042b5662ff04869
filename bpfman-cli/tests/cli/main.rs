//! Tests of the client against a fake daemon, and of its documentation.
#![allow(clippy::unwrap_used, reason = "tests")]

mod answers;
mod chains;
mod dependencies;
mod documentation;
mod failures;
mod fake;
mod images;
mod terminal;
