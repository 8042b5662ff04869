//! Metrics of bpfman's processes: names, labels, and the text that Prometheus reads.
//!
//! A scrape adds samples of a table of [`Metric`]s to an [`Exposition`]; the documentation is generated from the table.

mod exposition;
mod metric;
mod page;
mod process;

pub use exposition::{Exposition, MAX_SERIES, MetricValue, SERIES_LEFT_OUT};
pub use metric::{Metric, MetricKind, MetricUnit};
pub use page::{metrics_table, section_difference};
pub use process::{PROCESS_METRICS, add_process};

/// Defines a static for each metric and `ALL` of all: `metrics! { ALL: NAME = Metric::gauge(…); … }`.
#[macro_export]
macro_rules! metrics {
    ($all:ident: $($name:ident = $metric:expr;)*) => {
        $(
            #[doc = "A metric; its help says what it is."]
            pub static $name: $crate::Metric = $metric;
        )*
        /// All metrics of this table.
        pub static $all: &[&$crate::Metric] = &[$(&$name),*];
    };
}

/// Content type of [`Exposition::text`].
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
