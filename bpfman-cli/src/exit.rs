//! Exit codes: a stable interface for scripts.

use std::process::ExitCode;

use bpfman_proto::Reason;
use tonic::Code;

/// Exit code of a command. The numbers never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Anything without a code of its own.
    Other = 1,
    /// The command line is wrong. The argument parser uses the same code.
    Usage = 2,
    /// No daemon answers on the socket.
    Unreachable = 3,
    /// The daemon, or the permissions of its socket, refuse this caller.
    Denied = 4,
    /// The program, link, hook, file or image does not exist.
    NotFound = 5,
    /// The request is invalid, or this machine lacks a requirement.
    Invalid = 6,
    /// The request contradicts the present state.
    Conflict = 7,
    /// The kernel refused: most often its verifier.
    KernelRefused = 8,
    /// A registry failed or refused, or a signature is missing or wrong.
    Registry = 9,
    /// `doctor`: no daemon answers.
    DaemonDead = 10,
    /// `doctor`: root detached everything by `bpfmand --break-glass`.
    Detached = 11,
    /// `doctor`: the records are not reliable.
    Store = 12,
    /// `doctor`: little space on disk.
    Disk = 13,
    /// `doctor`: the kernel or the bpffs lacks something.
    Kernel = 14,
    /// `doctor`: a failed operation is not undone.
    Unfinished = 15,
    /// `doctor`: the policy cannot be read, or revokes what runs.
    Policy = 16,
    /// `doctor`: something runs that no record names.
    Strays = 17,
    /// `doctor`: the history is not written, or cannot be read.
    History = 18,
    /// `doctor`: the clock was set back.
    Clock = 19,
    /// `wait`: the condition was not met in time.
    TimedOut = 20,
}

impl Exit {
    /// All codes with their meaning, for `--help` and the manual page.
    pub const ALL: [(Self, &'static str); 20] = [
        (Self::Other, "any other failure"),
        (Self::Usage, "wrong command line"),
        (Self::Unreachable, "the daemon cannot be reached"),
        (Self::Denied, "permission denied"),
        (Self::NotFound, "not found"),
        (Self::Invalid, "invalid or unsupported request"),
        (Self::Conflict, "conflict with the present state"),
        (Self::KernelRefused, "the kernel refused"),
        (Self::Registry, "registry or signature failure"),
        (Self::DaemonDead, "doctor: no daemon answers"),
        (Self::Detached, "doctor: everything is detached, by bpfmand --break-glass"),
        (Self::Store, "doctor: the records are not to be relied on"),
        (Self::Disk, "doctor: hardly any room on disk"),
        (Self::Kernel, "doctor: the kernel or the bpffs lacks something"),
        (Self::Unfinished, "doctor: a failed operation is not undone"),
        (Self::Policy, "doctor: the policy cannot be read, or revokes what runs"),
        (Self::Strays, "doctor: something runs that no record names"),
        (Self::History, "doctor: the history is not written, or cannot be read"),
        (Self::Clock, "doctor: the clock was set back"),
        (Self::TimedOut, "wait: not so within the time"),
    ];

    /// Returns the exit status of the process.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    pub(crate) fn of_number(number: u8) -> Self {
        Self::ALL
            .into_iter()
            .map(|(exit, _)| exit)
            .find(|exit| exit.number() == number)
            .unwrap_or(Self::Other)
    }

    /// Maps a failed call: by the daemon's reason where it gives one, by the gRPC code otherwise.
    #[must_use]
    pub fn of_call(code: Code, reason: Option<&str>) -> Self {
        match reason.and_then(Reason::from_name) {
            Some(reason) => Self::of_number(reason.exit_code()),
            // The daemon is newer than this client: fall back to the gRPC code.
            None => match code {
                Code::NotFound => Self::NotFound,
                Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented => Self::Invalid,
                Code::AlreadyExists | Code::FailedPrecondition => Self::Conflict,
                Code::PermissionDenied | Code::Unauthenticated => Self::Denied,
                Code::Unavailable => Self::Unreachable,
                _ => Self::Other,
            },
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_distinct_and_documented_in_order() {
        let numbers: Vec<u8> = Exit::ALL.iter().map(|(exit, _)| exit.number()).collect();
        assert_eq!(numbers, (1..=20).collect::<Vec<u8>>());
    }

    #[test]
    fn the_reason_wins_over_the_code() {
        for (reason, exit) in [
            ("not-found", Exit::NotFound),
            ("invalid", Exit::Invalid),
            ("conflict", Exit::Conflict),
            ("denied", Exit::Denied),
            ("kernel-refused", Exit::KernelRefused),
            ("registry", Exit::Registry),
            ("signature", Exit::Registry),
            ("unsupported", Exit::Invalid),
            ("too-large", Exit::Invalid),
            ("busy", Exit::Other),
            ("internal", Exit::Other),
        ] {
            assert_eq!(Exit::of_call(Code::Internal, Some(reason)), exit, "{reason}");
        }
    }

    #[test]
    fn without_a_known_reason_the_code_decides() {
        for (code, exit) in [
            (Code::NotFound, Exit::NotFound),
            (Code::InvalidArgument, Exit::Invalid),
            (Code::Unimplemented, Exit::Invalid),
            (Code::AlreadyExists, Exit::Conflict),
            (Code::FailedPrecondition, Exit::Conflict),
            (Code::PermissionDenied, Exit::Denied),
            (Code::Unavailable, Exit::Unreachable),
            (Code::Internal, Exit::Other),
            (Code::Aborted, Exit::Other),
        ] {
            assert_eq!(Exit::of_call(code, None), exit, "{code:?}");
            assert_eq!(Exit::of_call(code, Some("a-later-reason")), exit, "{code:?}");
        }
    }
}
