//! `bpfman run-as`: a command whose eBPF calls the daemon makes.

mod recording;
mod session;
mod signals;
mod unit;

use std::io::Write as _;

use bpfmand_calls::SessionMessage;

use self::recording::Recording;
use self::session::SessionConnection;
use self::signals::PassedSignals;
use crate::args::Global;
use crate::args::run_as::RunAs;
use crate::error::CliError;
use crate::exit::Exit;

/// Exit status of a shell for a command that it finds but cannot execute, and for one that it does not find.
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;
const OF_SIGNALS: i32 = 128;
const ENOENT: i32 = 2;

/// Runs the command, and ends with its status.
pub async fn run(global: &Global, command: RunAs) -> Result<(), CliError> {
    if let Some(name) = &command.unit {
        return unit::print(name);
    }
    let status = follow(global, command).await?;
    std::process::exit(status)
}

async fn follow(global: &Global, command: RunAs) -> Result<i32, CliError> {
    let caught = PassedSignals::catch()?;
    let recording = command.record.as_deref().map(Recording::open).transpose()?;
    let path = global.socket_path.clone();
    let connection = tokio::task::spawn_blocking(move || SessionConnection::begin(&path, &command)).await;
    let connection = connection.map_err(|error| CliError::Session(std::io::Error::other(error)))??;
    let (messages, signals) = connection.split()?;
    tokio::spawn(caught.forward(signals));
    let ended = tokio::task::spawn_blocking(move || {
        let (mut refusals, mut recording) = (Refusals::default(), recording);
        messages.until_end(|message| match (message, &mut recording) {
            (SessionMessage::Loaded(line), Some(recording)) => recording.add(line),
            (message, _) => refusals.show(message),
        })
    });
    ended.await.map_err(|error| CliError::Session(std::io::Error::other(error)))?
}

/// Refused loads, shown only if the command fails: libraries also try loads that they can do without.
#[derive(Default)]
struct Refusals(Vec<String>);

impl Refusals {
    /// Shows a message of the session. Returns the exit status with the last one.
    fn show(&mut self, message: SessionMessage) -> Option<i32> {
        match message {
            SessionMessage::Refused { reason, of_load: true } => {
                self.0.push(reason);
                None
            }
            SessionMessage::Refused { reason, of_load: false } => {
                tell(format_args!("refused: {reason}"));
                None
            }
            SessionMessage::Loaded(_) => None,
            SessionMessage::Failed { error, message } => {
                tell(format_args!("error: {message}"));
                Some(if error == Some(ENOENT) { NOT_FOUND } else { NOT_EXECUTABLE })
            }
            SessionMessage::Denied(message) => Some(not_started(&message, Exit::Denied)),
            SessionMessage::Unsupported(message) => Some(not_started(&message, Exit::Invalid)),
            SessionMessage::Exited(status) => Some(self.end(status)),
            SessionMessage::Killed(signal) => Some(self.end(OF_SIGNALS + signal)),
        }
    }

    fn end(&self, status: i32) -> i32 {
        if status != 0 {
            self.0.iter().for_each(|reason| tell(format_args!("refused: {reason}")));
        }
        status
    }
}

fn not_started(why: &str, exit: Exit) -> i32 {
    tell(format_args!("error: {why}"));
    i32::from(exit.number())
}

fn tell(what: std::fmt::Arguments<'_>) {
    let _closed = writeln!(std::io::stderr(), "bpfman: {what}");
}
