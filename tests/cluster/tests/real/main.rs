//! What a real API server says.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod equipment;
