//! gRPC to engine: who is calling, what they ask for, and what they are answered.
//!
//! Every call runs on a thread where it may block; the engine is synchronous.

mod activity;
mod admit;
mod audit;
mod bpfman_v1;
mod chains;
mod chains_parse;
mod chains_show;
mod explain;
mod ext;
mod ext_show;
mod hook_entries;
mod images;
mod named_host;
mod network_follower;
mod node;
mod node_dry_run;
mod node_replace;
mod node_watch;
mod parse;
mod run_sample;
mod serve;
mod server;
mod show;
mod status;
mod strays;
mod watchers;

pub use activity::Activity;
pub use images::{ImageService, Prepared};
pub use serve::{Identify, Trim};
pub use server::{Api, MOST_THREADS, Paths};
