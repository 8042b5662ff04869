//! Errors of the examples: a message, a hint, and the exit codes of the command `bpfman`.

use std::fmt;
use std::io;
use std::process::ExitCode;

use anyhow::{Error, Result};
use bpfman_client::Reason;

const OTHER: u8 = 1;
const UNREACHABLE: u8 = 3;

/// Error that an example detects itself, with an exit code and a hint.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
    hint: String,
}

impl Failure {
    /// Returns an error for a missing object: exit code 5.
    pub fn not_found(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: Reason::NotFound.exit_code(), message: message.into(), hint: hint.into() }
    }

    /// Returns an error for missing permission: exit code 4.
    pub fn denied(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: Reason::Denied.exit_code(), message: message.into(), hint: hint.into() }
    }

    /// Returns an error for input that can never work: exit code 6.
    pub fn invalid(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: Reason::Invalid.exit_code(), message: message.into(), hint: hint.into() }
    }

    /// Returns an error for an object that is in use: exit code 7.
    pub fn conflict(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: Reason::Conflict.exit_code(), message: message.into(), hint: hint.into() }
    }
}

/// Returns whether the error is a conflict, which may be temporary.
pub fn is_conflict(error: &Error) -> bool {
    verdict(error).0 == Reason::Conflict.exit_code()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Prints the error and its hint to standard error, and returns the exit code. A closed output pipe is not an error.
pub fn end(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let (code, hint) = verdict(&error);
            eprintln!("error: {error:#}");
            for line in hint.lines() {
                eprintln!("hint: {line}");
            }
            ExitCode::from(code)
        }
    }
}

/// Prints a warning with the error's hint to standard error; for errors after which the example continues.
pub fn warn(error: &Error, text: &str) {
    eprintln!("warning: {text}");
    for line in verdict(error).1.lines() {
        eprintln!("hint: {line}");
    }
}

fn is_closed_pipe(error: &Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn verdict(error: &Error) -> (u8, &str) {
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return (failure.code, &failure.hint);
        }
        if let Some(refused) = cause.downcast_ref::<bpfman_client::Error>() {
            return (code_of(refused), refused.hint().unwrap_or_default());
        }
    }
    (OTHER, "")
}

fn code_of(error: &bpfman_client::Error) -> u8 {
    use bpfman_client::Error;
    match (error, error.reason()) {
        (Error::SocketDenied { .. }, _) => Reason::Denied.exit_code(),
        (_, Some(reason)) => reason.exit_code(),
        _ if error.is_lost() => UNREACHABLE,
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_failure_keeps_its_code_and_hint_behind_what_was_tried() {
        let failure = Failure::not_found("no such rule", "`list` shows them");
        let error = Err::<(), _>(failure).context("cannot remove it").unwrap_err();
        assert_eq!(verdict(&error), (5, "`list` shows them"));
        assert_eq!(format!("{error:#}"), "cannot remove it: no such rule");
    }

    #[test]
    fn missing_daemon_and_refusing_daemon_are_distinguished() {
        let nobody =
            bpfman_client::Error::Unreachable { path: "/x".into(), source: io::ErrorKind::NotFound.into() };
        assert_eq!(verdict(&nobody.into()).0, 3);
        let stranger = bpfman_client::Error::SocketDenied {
            path: "/x".into(),
            source: io::ErrorKind::PermissionDenied.into(),
        };
        assert_eq!(verdict(&stranger.into()).0, 4);
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_failure() {
        let error = Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("cannot write");
        assert!(is_closed_pipe(&error));
    }
}
