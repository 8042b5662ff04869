//! Metrics of the daemon for Prometheus: [`catalogue`] names them, [`DaemonMetrics`] gathers them when they are asked for,
//! and [`serve`] answers readers on a unix socket and by TCP.
//!
//! Nothing is counted here that the packet path would notice: chains count by themselves, the kernel counts programs, and
//! the engine counts what it does in a few atomics.

pub mod catalogue;
mod collect;
mod counts;
mod growing_sums;
mod page;
pub mod serve;

pub use collect::{DaemonMetrics, DaemonParts, DaemonStates, RadarCounts};
pub use counts::{ImageCounts, LimitCounts};
pub use page::metrics_page;

/// Threads that scrapes block at the same time: they wait for each other.
pub const MOST_THREADS: usize = 1;
