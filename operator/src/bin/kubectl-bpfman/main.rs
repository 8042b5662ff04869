//! `kubectl bpfman`: shows the state of applications on each node, and controls rollouts.
//!
//! Exit codes: 0 healthy, 1 not healthy, 2 usage error, 3 no answer, 4 a rollout waits for a user, 5 timeout.

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
