//! `bpfman run-as`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::{Cli, CliCommand, Global};

/// `bpfman run-as [--grant NAME] [--kallsyms] [--record FILE] -- COMMAND [ARGUMENT...]`, or `bpfman run-as --unit NAME`.
#[derive(Args, Debug)]
pub struct RunAs {
    /// Only this grant counts, of all that are for you.
    #[arg(long, value_name = "NAME")]
    pub grant: Option<String>,
    /// Show the command addresses in /proc/kallsyms, which reveal where the kernel is in memory.
    #[arg(long)]
    pub kallsyms: bool,
    /// Add the programs that the command loads to a list in this file. A grant whose `programs` is such a file allows only these.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Run nothing: print a drop-in by which this systemd service runs its command so. A path is that of its file.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["grant", "kallsyms", "record", "command"])]
    pub unit: Option<String>,
    /// Command and its arguments.
    #[arg(
        required_unless_present = "unit",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub command: Vec<OsString>,
}

/// Command line of `bpfman run-as` alone.
#[derive(Debug, Parser)]
#[command(name = "bpfman")]
pub struct RunAsLine {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: RunAsCommand,
}

#[derive(Debug, Subcommand)]
enum RunAsCommand {
    RunAs(RunAs),
}

impl From<RunAsLine> for Cli {
    fn from(RunAsLine { global, command: RunAsCommand::RunAs(command) }: RunAsLine) -> Self {
        Self { global, command: CliCommand::RunAs(command) }
    }
}
