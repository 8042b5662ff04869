//! Tests of the plugin and its installation, run like on a node.
#![allow(clippy::unwrap_used, reason = "tests")]

mod install;
mod specification;
