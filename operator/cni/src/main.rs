//! `bpfman-cni`: CNI plugin for container runtimes; people and init containers call `install` and `uninstall`.

use std::env;
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use bpfman_cni::error::{CniError, IO_FAILURE};
use bpfman_cni::{install, plugin};
use serde::Serialize;

const MAX_CONFIGURATION: u64 = 4 << 20;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if env::var_os("CNI_COMMAND").is_none() && !words.is_empty() {
        return match install::command(&words) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("bpfman-cni: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let mut input = Vec::new();
    if let Err(error) = io::stdin().take(MAX_CONFIGURATION).read_to_end(&mut input) {
        let error = CniError::new(IO_FAILURE, "the network configuration cannot be read", error.to_string());
        return say(&error, ExitCode::FAILURE);
    }
    match plugin::run(&|name| env::var(name).ok(), &input) {
        Ok(done) => {
            for note in &done.notes {
                eprintln!("bpfman-cni: {note}");
            }
            done.output.map_or(ExitCode::SUCCESS, |output| say(&output, ExitCode::SUCCESS))
        }
        Err(error) => say(&error, ExitCode::FAILURE),
    }
}

fn say(message: &impl Serialize, code: ExitCode) -> ExitCode {
    let Ok(mut text) = serde_json::to_vec(message) else { return ExitCode::FAILURE };
    text.push(b'\n');
    // If the runtime does not read the response, the pod must not count as protected.
    io::stdout().write_all(&text).map_or(ExitCode::FAILURE, |()| code)
}
