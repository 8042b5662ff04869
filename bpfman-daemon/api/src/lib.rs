//! gRPC front end of the engine: identifies callers, checks permissions, converts requests and answers.
//!
//! Every call runs on a thread where it may block, because the engine is synchronous.

mod access;
mod activity;
mod admit;
mod audit;
mod authorize;
mod bpfman_v1;
mod calls;
mod chains;
mod chains_parse;
mod chains_show;
mod entry_filter;
mod event_followers;
mod event_request;
mod event_stream;
mod examine;
mod examine_machine;
mod explain;
mod ext;
mod ext_show;
mod features;
mod figure_changes;
mod figure_stream;
mod figures_show;
mod fixed_peer;
mod gate;
mod gate_status;
mod history;
mod history_pages;
mod hook_entries;
mod images;
mod iterators;
mod leases;
mod map_contents;
mod map_dumps;
mod map_entries;
mod maps;
mod member_timing;
mod named_host;
mod network_follower;
mod node;
mod node_dry_run;
mod node_replace;
mod node_watch;
mod objects;
mod parse;
mod places;
#[cfg(test)]
mod points_golden_tests;
mod prints;
#[cfg(test)]
mod program_types_tests;
mod radar;
mod radar_state;
mod replaced;
mod run_sample;
mod serve;
mod server;
mod shares;
mod show;
mod status;
mod strays;
mod switches;
mod type_support;
mod watchers;

pub use activity::Activity;
pub use authorize::{AccessSource, PolicyHealth};
pub use fixed_peer::FixedPeerLayer;
pub use gate::Gate;
pub use gate_status::GateStatus;
pub use images::{ImageService, Prepared};
pub use radar_state::{RadarControl, RadarRefusal, RadarReport, RadarSource, RadarState};
pub use serve::{Identify, SocketSystem, Trim, UnreadBytes, WantedIdentity};
pub use server::{Api, MAX_THREADS, Paths, WorkerCheck};
