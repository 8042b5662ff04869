//! Definitions and manifests of applications, and their checks.
#![allow(clippy::unwrap_used, reason = "tests")]

mod check;
mod definitions;
mod manifests;
mod points;
