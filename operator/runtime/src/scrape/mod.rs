//! Metrics over TLS, with authorization by the API server.

mod readers;
mod serve;

pub use readers::{DecisionUnavailable, ReaderVerdict, Readers};
pub use serve::metrics_for;
