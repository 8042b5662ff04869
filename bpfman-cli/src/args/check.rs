//! `bpfman check`.

use std::path::PathBuf;

use clap::Args;

use super::object::ObjectArgument;

/// `bpfman check FILE|IMAGE`.
#[derive(Args, Debug)]
pub struct Check {
    /// The object.
    #[command(flatten)]
    pub object: ObjectArgument,
    /// Check against the kernel of these types (raw BTF, such as a copy of /sys/kernel/btf/vmlinux) instead of this host's.
    /// May be repeated.
    #[arg(long, value_name = "FILE")]
    pub kernel_btf: Vec<PathBuf>,
    /// Do not have the daemon load the programs for a try.
    #[arg(long)]
    pub no_try: bool,
}
