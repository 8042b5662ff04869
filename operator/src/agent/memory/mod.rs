//! State of the agent: watched objects ([`cache`]), and further state per application ([`application`]). Nothing here
//! performs I/O on the network.

pub mod application;
pub mod arriving;
pub mod cache;
pub mod last_written;
pub mod registry_backoff;
pub mod write_pace;

pub use application::{ApplicationMemory, Memories};
