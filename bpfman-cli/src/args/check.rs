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
    /// Check against the kernel with these types (raw BTF, such as a copy of its /sys/kernel/btf/vmlinux) instead of this
    /// host's. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub kernel_btf: Vec<PathBuf>,
    /// Boot this kernel in a virtual machine, where a daemon loads the programs as a dry run: one of Debian's (5.10, 6.1,
    /// 6.12, sid), or a folder with an unpacked kernel package. May be repeated. Needs root and takes a minute.
    #[arg(long, value_name = "KERNEL")]
    pub kernel: Vec<String>,
    /// Skip the dry run, in which the daemon loads the programs.
    #[arg(long)]
    pub no_try: bool,
}
