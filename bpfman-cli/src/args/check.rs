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
    /// Boot this kernel in a virtual machine, and have a daemon in it load the programs for a try: a series of Debian's (5.10,
    /// 6.1, 6.12, sid) or a folder where a kernel package was unpacked. May be repeated. Needs root and takes a minute.
    #[arg(long, value_name = "KERNEL")]
    pub kernel: Vec<String>,
    /// Do not have the daemon load the programs for a try.
    #[arg(long)]
    pub no_try: bool,
}
