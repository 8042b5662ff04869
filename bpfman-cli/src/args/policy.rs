//! `bpfman policy`: the policy of this machine.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What to do with a policy.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Show every mistake of a policy file, or what it allows. No daemon is needed.
    Check(CheckPolicy),
}

/// `bpfman policy check`.
#[derive(Args, Debug)]
pub struct CheckPolicy {
    /// The file, such as a draft [default: the daemon's, /etc/bpfman/policy.toml]
    pub file: Option<PathBuf>,
}
