//! `kubectl bpfman`: how applications are doing, node by node, and what to do about it.
//!
//! Exit codes: 0 what was asked about is well, 1 it is not, 2 a wrong command line, 3 there is no answer, 4 a rollout waits for
//! somebody, 5 it was not over in time.

use std::io::Write;
use std::process::ExitCode;

use bpfman_operator::client::{arguments::ClientArguments, run};
use clap::Parser;

fn main() -> ExitCode {
    let arguments = ClientArguments::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return no_answer(&error),
    };
    match runtime.block_on(run(arguments)) {
        Ok(shown) => match std::io::stdout().write_all(&shown.text) {
            Ok(()) => ExitCode::from(shown.end.code()),
            Err(error) => no_answer(&error),
        },
        Err(error) => no_answer(&error),
    }
}

fn no_answer(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("error: {}", bpfman_proto::printable::lines(&error.to_string()));
    ExitCode::from(3)
}
