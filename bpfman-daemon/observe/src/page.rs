//! The daemon's part of `docs/metrics.md`.

use bpfman_metrics::metrics_table;

use crate::catalogue::all_metrics;

/// Returns all metrics of the daemon as a Markdown table.
#[must_use]
pub fn metrics_page() -> String {
    metrics_table(all_metrics())
}
