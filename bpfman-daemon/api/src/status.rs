//! The one table from failures to gRPC codes.

use bpfman_proto::{HINT_TRAILER, REASON_TRAILER, ext::v1::Failure};
use bpfmand_engine::{EngineError, ErrorKind};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

/// Code and name of each kind. The names are an interface: clients choose exit codes by them.
const fn entry(kind: ErrorKind) -> (Code, &'static str) {
    match kind {
        ErrorKind::NotFound => (Code::NotFound, "not-found"),
        ErrorKind::Invalid => (Code::InvalidArgument, "invalid"),
        ErrorKind::Precondition => (Code::FailedPrecondition, "invalid"),
        ErrorKind::Conflict => (Code::FailedPrecondition, "conflict"),
        ErrorKind::Denied => (Code::PermissionDenied, "denied"),
        ErrorKind::KernelRefused => (Code::Aborted, "kernel-refused"),
        ErrorKind::Registry => (Code::Unavailable, "registry"),
        ErrorKind::Signature => (Code::PermissionDenied, "signature"),
        ErrorKind::Unsupported => (Code::Unimplemented, "unsupported"),
        ErrorKind::TooLarge => (Code::InvalidArgument, "too-large"),
        ErrorKind::Internal => (Code::Internal, "internal"),
    }
}

/// A failure of the engine as a status with its trailers.
pub fn from_engine(error: &EngineError) -> Status {
    let (code, reason) = entry(error.kind());
    with_trailers(code, error.to_string(), reason, error.hint().as_deref())
}

/// The same as a message, for calls whose answer is too long for a status.
pub fn failure(error: &EngineError) -> Failure {
    let (code, reason) = entry(error.kind());
    Failure {
        code: code as i32,
        message: error.to_string(),
        hint: error.hint().unwrap_or_default(),
        reason: reason.to_owned(),
    }
}

/// A request that cannot be understood.
pub fn invalid(message: impl Into<String>) -> Status {
    let (code, reason) = entry(ErrorKind::Invalid);
    with_trailers(code, message.into(), reason, None)
}

/// A caller who may not.
pub fn denied(message: impl Into<String>) -> Status {
    let (code, reason) = entry(ErrorKind::Denied);
    with_trailers(code, message.into(), reason, None)
}

/// A request for something that the daemon has no room for now.
pub fn busy(message: impl Into<String>) -> Status {
    with_trailers(Code::ResourceExhausted, message.into(), "busy", None)
}

/// A request for something that no daemon of this version does.
pub fn unsupported(message: impl Into<String>) -> Status {
    let (code, reason) = entry(ErrorKind::Unsupported);
    with_trailers(code, message.into(), reason, None)
}

fn with_trailers(code: Code, message: String, reason: &'static str, hint: Option<&str>) -> Status {
    let mut trailers = MetadataMap::new();
    trailers.insert(REASON_TRAILER, MetadataValue::from_static(reason));
    if let Some(hint) = hint {
        trailers.insert_bin(HINT_TRAILER, MetadataValue::from_bytes(hint.as_bytes()));
    }
    // Trailers travel in one frame of limited size.
    const MOST: usize = 4096;
    let mut message = message;
    if message.len() > MOST {
        let end = message.floor_char_boundary(MOST);
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
        let status = from_engine(&EngineError::NoProgram(bpfmand_core::ProgramId(7)));
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.metadata().get(REASON_TRAILER).unwrap(), "not-found");
        assert!(status.metadata().get_bin(HINT_TRAILER).is_some());
    }

    #[test]
    fn a_long_message_is_cut_to_fit_a_frame() {
        let status = invalid("ü".repeat(100_000));
        assert!(status.message().len() < 5000);
    }
}
