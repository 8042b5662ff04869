//! `bpfman stray`: objects in the daemon's bpffs without a record.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::watch::WatchFlag;

/// Stray commands.
#[derive(Debug, Subcommand)]
pub enum StrayCommand {
    /// List programs, links and filters of bpfman without a record: the state folder was lost, or is an older copy.
    List(WatchFlag),
    /// Remove strays: detach and unload them. To keep one, run `bpfman adopt` on its link.
    Remove(RemoveStray),
}

/// `bpfman stray remove`.
#[derive(Args, Debug)]
pub struct RemoveStray {
    /// Paths of their pins, as `bpfman stray list` shows them.
    #[arg(value_name = "PIN", required_unless_present = "all")]
    pub pins: Vec<PathBuf>,
    /// All of them.
    #[arg(long, conflicts_with = "pins")]
    pub all: bool,
}
