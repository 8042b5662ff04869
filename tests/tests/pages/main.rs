//! Tests of the documentation: each command line is run, or accepted by the parser of its program, or listed with the
//! reason for which neither is possible. Lines about clusters are run by tests/cluster/tests/real/pages.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod exceptions;
mod inventory;
mod judge;
mod machine;
mod machine_tools;
mod parser;
mod roles;
mod spans;
mod tutorials;
mod walk;
mod walks;
