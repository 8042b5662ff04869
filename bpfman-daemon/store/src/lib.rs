//! Desired state on disk, durable when acknowledged
