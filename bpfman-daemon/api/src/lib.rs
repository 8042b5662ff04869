//! gRPC to engine: who is calling, what they ask for, and what they are answered.
//!
//! Every call runs on a thread where it may block; the engine is synchronous.

mod access;
mod activity;
mod admit;
mod audit;
mod authorize;
mod bpfman_v1;
mod calls;
mod calls_of;
mod chains;
mod chains_parse;
mod chains_show;
mod examine;
mod examine_machine;
mod explain;
mod ext;
mod ext_show;
mod features;
mod gate;
mod gate_standing;
mod history;
mod history_pages;
mod hook_entries;
mod images;
mod iterators;
mod leases;
mod map_contents;
mod maps;
mod named_host;
mod network_follower;
mod node;
mod node_dry_run;
mod node_replace;
mod node_watch;
mod objects;
mod parse;
mod points;
mod prints;
mod run_sample;
mod serve;
mod server;
mod shares;
mod show;
mod status;
mod strays;
mod type_support;
mod watchers;

pub use activity::Activity;
pub use authorize::{AccessSource, UnreadablePolicy};
pub use calls_of::CallsOf;
pub use gate::Gate;
pub use gate_standing::GateStanding;
pub use images::{ImageService, Prepared};
pub use serve::{Identify, SocketSystem, Trim, UnreadByPeer};
pub use server::{Api, HelpersAble, MOST_THREADS, Paths};
