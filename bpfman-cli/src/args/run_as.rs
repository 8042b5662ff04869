//! `bpfman run-as`.

use std::ffi::OsString;

use clap::Args;

/// `bpfman run-as [--grant NAME] [--kallsyms] -- COMMAND [ARGUMENT...]`.
#[derive(Args, Debug)]
pub struct RunAs {
    /// Only this grant counts, of all that are for you.
    #[arg(long, value_name = "NAME")]
    pub grant: Option<String>,
    /// Show the command addresses in /proc/kallsyms, which reveal where the kernel is in memory.
    #[arg(long)]
    pub kallsyms: bool,
    /// Command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}
