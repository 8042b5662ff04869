//! `kubectl bpfman`: shows the state of applications on each node, and controls rollouts.
//!
//! Exit codes: 0 healthy, 1 not healthy, 20 timeout, 21 a rollout waits for a user; failures as of `bpfman`.

use std::io::Write;
use std::process::ExitCode;

use bpfman_operator::client::arguments::{ClientArguments, definition};
use bpfman_operator::client::{ClientError, run};
use clap::FromArgMatches as _;

fn main() -> ExitCode {
    let mut words: Vec<_> = std::env::args_os().collect();
    if words.len() < 2 {
        words.push("-h".into());
    }
    let matches = definition().get_matches_from(words);
    let arguments = ClientArguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&ClientError::Output(error.to_string())),
    };
    match runtime.block_on(run(arguments)) {
        Ok(shown) => match std::io::stdout().write_all(&shown.text) {
            Ok(()) => ExitCode::from(shown.end.code()),
            Err(error) => failed(&ClientError::Output(error.to_string())),
        },
        Err(error) => failed(&error),
    }
}

fn failed(error: &ClientError) -> ExitCode {
    // The second line of a message is the next step.
    let text = error.to_string().replacen('\n', "\nhint: ", 1);
    eprintln!("error: {}", bpfman_proto::printable::lines(&text));
    ExitCode::from(error.exit_code())
}
