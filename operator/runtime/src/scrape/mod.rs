//! Metrics over TLS, with authorization by the API server.

mod readers;
mod serve;

pub use readers::{ReaderVerdict, Readers, Unsaid};
pub use serve::metrics_for;
