//! The documentation as people read it: each command line of the book is run, or taken by the parser of the program that it
//! names, or listed with the reason why neither can be. Lines about clusters are run by tests/cluster/tests/real/pages.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod exceptions;
mod inventory;
mod judge;
mod machine;
mod machine_tools;
mod parser;
mod spans;
mod tutorials;
mod walk;
mod walks;
