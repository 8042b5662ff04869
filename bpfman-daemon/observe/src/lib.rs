//! Metrics of the daemon for Prometheus: [`catalogue`] defines them, [`DaemonMetrics`] collects them on each scrape,
//! and [`serve`] serves them on a unix socket and by TCP.
//!
//! Nothing here costs time in the packet path: chains and the kernel count anyway, and the engine counts its operations
//! in a few atomics.

pub mod catalogue;
mod collect;
mod counts;
mod monotonic_sums;
mod page;
pub mod serve;

pub use collect::{DaemonMetrics, DaemonParts, DaemonStates, RadarCounts};
pub use counts::{ImageCounts, LimitCounts};
pub use page::metrics_page;

/// Maximum number of threads blocked by scrapes: scrapes are serialized.
pub const MAX_THREADS: usize = 1;
