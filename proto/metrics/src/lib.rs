//! Metrics of bpfman's processes: what each is called, what its labels are, and the text that Prometheus reads.
//!
//! A process has a table of [`Metric`]s. At each scrape it puts samples of them into an [`Exposition`], which writes them in
//! the format OpenMetrics by the crate `prometheus-client`. The page of the documentation is made from the same table.

mod exposition;
mod metric;
mod page;
mod process;

pub use exposition::{Exposition, MOST_SERIES, MetricValue, SERIES_LEFT_OUT};
pub use metric::{Metric, MetricKind, MetricUnit};
pub use page::{metrics_table, section_difference};
pub use process::{PROCESS_METRICS, add_process};

/// A table of metrics: `metrics! { ALL: NAME = Metric::gauge(…); … }` makes a static of each, and `ALL` of all of them.
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

/// The content type of [`Exposition::text`].
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
