//! `bpfman run-as`: a command whose eBPF calls the daemon makes.

mod session;
mod signals;

use std::convert::Infallible;
use std::io::Write as _;

use bpfmand_calls::SessionMessage;

use self::session::SessionConnection;
use self::signals::forward;
use crate::args::Global;
use crate::args::run_as::RunAs;
use crate::error::CliError;

/// Exit status of a shell for a command that it finds but cannot execute, and for one that it does not find.
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;
const OF_SIGNALS: i32 = 128;
const ENOENT: i32 = 2;

/// Runs the command, and ends with its status.
pub async fn run(global: &Global, command: RunAs) -> Result<(), CliError> {
    let status = tokio::select! {
        status = follow(global, command) => status?,
    };
    std::process::exit(status)
}

async fn follow(global: &Global, command: RunAs) -> Result<i32, CliError> {
    let path = global.socket_path.clone();
    let connection = tokio::task::spawn_blocking(move || SessionConnection::begin(&path, &command)).await;
    let connection = connection.map_err(|error| CliError::Runtime(std::io::Error::other(error)))??;
    let (messages, signals) = connection.split()?;
    tokio::select! {
        ended = tokio::task::spawn_blocking(move || messages.until_end(show)) => {
            ended.map_err(|error| CliError::Runtime(std::io::Error::other(error)))?
        }
        never = forward(signals) => match never? {},
    }
}

type Never = Infallible;

/// Shows a message of the session. Returns the exit status with the last one.
fn show(message: SessionMessage) -> Option<i32> {
    let mut errors = std::io::stderr();
    match message {
        SessionMessage::Refused(reason) => {
            let _closed = writeln!(errors, "bpfman: refused: {reason}");
            None
        }
        SessionMessage::Failed { error, message } => {
            let _closed = writeln!(errors, "bpfman: error: {message}");
            Some(if error == Some(ENOENT) { NOT_FOUND } else { NOT_EXECUTABLE })
        }
        SessionMessage::Exited(status) => Some(status),
        SessionMessage::Killed(signal) => Some(OF_SIGNALS + signal),
    }
}
