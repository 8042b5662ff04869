//! `bpfman run-as`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::{Cli, CliCommand, Global};

/// `bpfman run-as [--grant NAME] [--kallsyms] [--record FILE] -- COMMAND [ARGUMENT...]`, or `bpfman run-as --unit NAME`.
#[derive(Args, Debug)]
pub struct RunAs {
    /// Use only this grant of yours.
    #[arg(long, value_name = "NAME")]
    pub grant: Option<String>,
    /// Let the command see the addresses in /proc/kallsyms, which reveal where the kernel is in memory.
    #[arg(long)]
    pub kallsyms: bool,
    /// Append the programs that the command loads to this file. The key `programs` of a grant takes this
    /// file.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Run nothing: print a drop-in that makes this systemd service run its command with run-as. Name, or path of its file.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["grant", "kallsyms", "record", "command"])]
    pub unit: Option<String>,
    /// Command and its arguments.
    #[arg(required_unless_present = "unit", trailing_var_arg = true, value_name = "COMMAND")]
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
