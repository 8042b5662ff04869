//! Command line client of `bpfmand`: an unprivileged client of the daemon's unix socket.
//!
//! The grammar and the tables are those of bpfman v0.6.0; JSON, YAML and the exit codes ([`exit::Exit`]) are interfaces
//! of this project, described in `docs/cli.md`.

pub mod args;
pub mod capture;
pub mod command;
pub mod drops;
pub mod error;
pub mod exit;
pub mod figures;
pub mod finding_class;
pub mod image_error;
pub mod kernel_type;
pub mod show;
pub mod top;
pub mod user_names;
pub mod verdict;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::error::CliError;

/// Parses the command line, runs the command, and returns the exit code.
///
/// Errors go to standard error as one `error:` line, followed by a `hint:` line for each next step.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if words.len() < 2 {
        return help();
    }
    let parse = || args::parse::parse(&words).unwrap_or_else(|error| error.exit());
    let cli = parse();
    // One thread: a command makes a few sequential calls, and starting workers costs more than they save.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome =
        runtime.map_err(CliError::Runtime).and_then(|runtime| runtime.block_on(command::run(cli, parse)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.report();
            error.exit().into()
        }
    }
}

fn help() -> ExitCode {
    match args::definition().print_help() {
        Ok(()) => ExitCode::SUCCESS,
        Err(source) => {
            let error = CliError::Output(source);
            error.report();
            error.exit().into()
        }
    }
}
