//! Metrics over TLS, for whom the API server lets read them.

mod readers;
mod serve;

pub use readers::{ReaderVerdict, Readers, Unsaid};
pub use serve::metrics_for;
