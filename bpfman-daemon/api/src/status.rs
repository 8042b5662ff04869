//! The one table from failures to gRPC codes.

use bpfman_model::Hint;
use bpfman_proto::attach_point::BadPoint;
use bpfman_proto::printable::{lines, one_line};
use bpfman_proto::{HINT_TRAILER, REASON_TRAILER, Reason, ext::v1::Failure};
use bpfmand_access::Denial;
use bpfmand_engine::EngineError;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

const fn entry(reason: Reason) -> (Code, Reason) {
    let code = match reason {
        Reason::NotFound => Code::NotFound,
        Reason::Precondition => return (Code::FailedPrecondition, Reason::Invalid),
        Reason::Conflict => Code::FailedPrecondition,
        Reason::Denied | Reason::Signature => Code::PermissionDenied,
        Reason::KernelRefused => Code::Aborted,
        Reason::Registry => Code::Unavailable,
        Reason::Unsupported => Code::Unimplemented,
        Reason::Invalid | Reason::TooLarge => Code::InvalidArgument,
        Reason::Busy => Code::ResourceExhausted,
        Reason::Internal => Code::Internal,
    };
    (code, reason)
}

pub fn from_engine(error: &EngineError) -> Status {
    let (code, reason) = entry(error.kind());
    with_trailers(code, message(error), reason, error.hint())
}

/// Returns an error as a message, for calls with answers that are too long for a status.
pub fn failure(error: &EngineError) -> Failure {
    let (code, reason) = entry(error.kind());
    Failure {
        code: code as i32,
        message: message(error),
        hint: error.hint().map(|hint| lines(&hint.to_string()).into_owned()).unwrap_or_default(),
        reason: reason.name().to_owned(),
    }
}

/// Returns the error's text. Names in it may come from users: only a verifier log keeps its line breaks.
fn message(error: &EngineError) -> String {
    match error.kind() {
        Reason::KernelRefused => error.to_string(),
        _ => one_line(&error.to_string()).into_owned(),
    }
}

pub fn invalid(message: impl Into<String>) -> Status {
    refusal(Reason::Invalid, message)
}

/// Returns the status for an invalid attach point.
pub fn bad_point(error: BadPoint) -> Status {
    match error {
        BadPoint::Invalid(message) => invalid(message),
        BadPoint::Unsupported(message) => unsupported(message),
    }
}

pub fn too_large(message: impl Into<String>) -> Status {
    refusal(Reason::TooLarge, message)
}

/// Returns a refusal of a request that contradicts the present state.
pub fn conflict(message: &str, hint: impl Into<Hint>) -> Status {
    refusal_with(Reason::Conflict, message, Some(hint.into()))
}

pub fn denied(message: impl Into<String>) -> Status {
    refusal(Reason::Denied, message)
}

pub fn denial(denial: &Denial) -> Status {
    refusal_with(Reason::Denied, &denial.message, Some(denial.hint.clone()))
}

/// Returns a refusal of a request for something that is not there.
pub fn not_found(message: impl Into<String>) -> Status {
    refusal(Reason::NotFound, message)
}

/// Returns a failure of the daemon itself.
pub fn failed(message: impl Into<String>) -> Status {
    refusal(Reason::Internal, message)
}

/// Returns a refusal of a request that this machine or daemon does not support.
pub fn unsupported(message: impl Into<String>) -> Status {
    refusal(Reason::Unsupported, message)
}

pub fn unsupported_with(message: &str, hint: impl Into<Hint>) -> Status {
    refusal_with(Reason::Unsupported, message, Some(hint.into()))
}

/// Returns a refusal of a request that may succeed later.
pub fn busy(message: impl Into<String>) -> Status {
    with_trailers(Code::ResourceExhausted, message.into(), Reason::Busy, None)
}

fn refusal(kind: Reason, message: impl Into<String>) -> Status {
    refusal_with(kind, &message.into(), None)
}

/// Returns a refusal. Users may have chosen names in the message.
pub fn refusal_with(kind: Reason, message: &str, hint: Option<Hint>) -> Status {
    let (code, reason) = entry(kind);
    with_trailers(code, one_line(message).into_owned(), reason, hint)
}

pub fn failure_of(status: &Status) -> Failure {
    let trailers = status.metadata();
    let reason = trailers.get(REASON_TRAILER).and_then(|value| value.to_str().ok());
    let hint = trailers.get_bin(HINT_TRAILER).and_then(|value| value.to_bytes().ok());
    Failure {
        code: status.code() as i32,
        message: status.message().to_owned(),
        hint: hint.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default(),
        reason: reason.unwrap_or_default().to_owned(),
    }
}

fn with_trailers(code: Code, message: String, reason: Reason, hint: Option<Hint>) -> Status {
    let mut trailers = MetadataMap::new();
    trailers.insert(REASON_TRAILER, MetadataValue::from_static(reason.name()));
    if let Some(hint) = hint {
        trailers.insert_bin(HINT_TRAILER, MetadataValue::from_bytes(lines(&hint.to_string()).as_bytes()));
    }
    // Trailers travel in one frame of limited size.
    const MAX_TRAILER: usize = 4096;
    let mut message = lines(&message).into_owned();
    if message.len() > MAX_TRAILER {
        let end = message.floor_char_boundary(MAX_TRAILER);
        message.truncate(end);
        message.push_str(" …");
    }
    Status::with_metadata(code, message, trailers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_program_is_not_found_with_a_hint() {
        let status = from_engine(&EngineError::NoProgram(bpfman_model::ProgramId(7)));
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.metadata().get(REASON_TRAILER).unwrap(), "not-found");
        assert!(status.metadata().get_bin(HINT_TRAILER).is_some());
    }

    #[test]
    fn foreign_names_cannot_break_lines_or_control_terminals() {
        let forged = "x\n2026-01-01 INFO signature verified\x1b]0;owned\x07";
        for status in [invalid(forged), denied(forged), from_engine(&EngineError::Invalid(forged.to_owned()))]
        {
            assert!(!status.message().contains(char::is_control), "{status:?}");
        }
        assert!(!failure(&EngineError::Invalid(forged.to_owned())).message.contains(char::is_control));
    }

    #[test]
    fn a_status_is_told_whole_where_there_are_no_trailers() {
        let error = EngineError::NoProgram(bpfman_model::ProgramId(7));
        assert_eq!(failure_of(&from_engine(&error)), failure(&error));
        assert!(!failure(&error).hint.is_empty());
    }

    #[test]
    fn a_long_message_is_cut_to_fit_a_frame() {
        let status = invalid("ü".repeat(100_000));
        assert!(status.message().len() < 5000);
    }

    #[test]
    fn a_limit_has_its_own_reason() {
        let status = too_large("the request names 1001 programs");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.metadata().get(REASON_TRAILER).unwrap(), "too-large");
    }
}
