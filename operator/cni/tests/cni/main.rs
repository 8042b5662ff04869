//! The plugin and its installation, as nodes call them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod install;
mod specification;
