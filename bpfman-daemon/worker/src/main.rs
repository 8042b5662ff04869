//! `bpfman-worker`: processes that the daemon starts for work on data from outside.
//!
//! The daemon starts this program once, as the starter, which starts the others: a fetcher, a verifier or a TLS process by
//! executing itself, a reader of objects by copying itself.

#[cfg(debug_assertions)]
mod hostile;
mod process;
mod starter;

use std::ffi::CStr;
use std::process::ExitCode;

/// Process name of a reader, which shares the starter's arguments.
const READER_NAME: &CStr = c"bpfmand-reader";

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).filter_map(|word| word.into_string().ok()).collect();
    match process::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bpfman-worker: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
