//! What the agent knows: what watches said last ([`cache`]), and what it keeps of each application beside that
//! ([`application`]). Nothing of it waits, asks or writes.

pub mod application;
pub mod arriving;
pub mod cache;
pub mod last_written;
pub mod registry_backoff;
pub mod write_pace;

pub use application::{ApplicationMemory, Memories};
