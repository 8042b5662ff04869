//! State of the agent: watched objects ([`cache`]) and state per application ([`application`]). No network I/O.

pub mod application;
pub mod arriving;
pub mod cache;
pub mod last_written;
pub mod registry_backoff;
pub mod write_pace;

pub use application::{ApplicationMemory, Memories};
