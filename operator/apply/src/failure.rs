//! Failures of calls: errors of the daemon, broken connections, and their form in a status.

use bpfman_application::state::node::NodeFailure;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::{HINT_TRAILER, REASON_TRAILER, Reason};
use tonic::{Code, Status};

use crate::daemon::Daemon;

/// Maximum length of a failure's message, in bytes.
pub const MAX_MESSAGE: usize = 1024;

/// Error of a connection to the daemon, which failed at the start or during a call.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot reach bpfmand at {daemon}: {why}")]
pub struct Unreachable {
    pub daemon: String,
    /// Cause of the connection's failure.
    pub why: String,
}

/// Reason why a call was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallRefusal {
    /// The daemon does not support this call.
    Absent,
    /// The daemon returned an error.
    Said { code: Code, failure: NodeFailure },
}

impl CallRefusal {
    /// Converts to a failure for a status.
    #[must_use]
    pub fn failure(self) -> NodeFailure {
        match self {
            Self::Said { failure, .. } => failure,
            Self::Absent => NodeFailure {
                reason: Reason::Unsupported.name().to_owned(),
                message: "this version of the daemon does not have the call".to_owned(),
                hint: "install a newer bpfmand".to_owned(),
                ..NodeFailure::default()
            },
        }
    }

    /// Returns whether the daemon does not implement the call, or something that the call requires.
    #[must_use]
    pub const fn is_unimplemented(&self) -> bool {
        matches!(self, Self::Absent | Self::Said { code: Code::Unimplemented, .. })
    }

    /// Returns whether the daemon rejects the request's content, so that a retry cannot succeed.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        matches!(self, Self::Said { code: Code::InvalidArgument, .. })
    }

    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Said { code: Code::NotFound, .. })
    }
}

/// Separates a daemon's error, which has a reason in a trailer, from a broken connection ([`Unreachable`]).
pub fn refusal(daemon: &Daemon, status: &Status) -> Result<CallRefusal, Unreachable> {
    let reason = status.metadata().get(REASON_TRAILER).and_then(|value| value.to_str().ok());
    match (reason, status.code()) {
        (None, Code::Unimplemented) => Ok(CallRefusal::Absent),
        (None, Code::Unavailable | Code::Unknown | Code::Cancelled) => {
            Err(Unreachable { daemon: daemon.name().to_owned(), why: root_cause(status) })
        }
        (reason, code) => {
            let hint = status.metadata().get_bin(HINT_TRAILER).and_then(|value| value.to_bytes().ok());
            let hint = hint.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
            let reason = reason.map_or_else(|| format!("{code:?}").to_lowercase(), str::to_owned);
            Ok(CallRefusal::Said { code, failure: failure(&reason, status.message(), &hint) })
        }
    }
}

/// Returns the innermost cause of a transport error: "No such file or directory" rather than "tcp connect error".
#[must_use]
pub fn root_cause(status: &Status) -> String {
    let mut error: &dyn std::error::Error = status;
    while let Some(source) = error.source() {
        error = source;
    }
    if std::ptr::addr_eq(std::ptr::from_ref(error), std::ptr::from_ref::<dyn std::error::Error>(status)) {
        status.message().to_owned()
    } else {
        error.to_string()
    }
}

/// Returns a failure with its texts cut to the length of a status.
#[must_use]
pub fn failure(reason: &str, message: &str, hint: &str) -> NodeFailure {
    NodeFailure {
        reason: reason.to_owned(),
        program: String::new(),
        message: cut(message, MAX_MESSAGE),
        hint: cut(hint, MAX_MESSAGE),
    }
}

/// Converts a failure from the API.
#[must_use]
pub fn of_message(message: &ext::Failure) -> NodeFailure {
    failure(&message.reason, &message.message, &message.hint)
}

/// Cuts a text to a number of bytes; a text that was cut ends in an ellipsis.
#[must_use]
pub fn cut(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(longest.saturating_sub(" …".len()));
    format!("{} …", &text[..end])
}

#[cfg(test)]
mod tests {
    use tonic::metadata::{MetadataMap, MetadataValue};

    use super::*;

    fn daemon() -> Daemon {
        Daemon::at(std::path::Path::new("/nowhere/sock"))
    }

    #[tokio::test]
    async fn the_daemons_no_is_no_broken_connection() {
        let mut trailers = MetadataMap::new();
        trailers.insert(REASON_TRAILER, MetadataValue::from_static("registry"));
        trailers.insert_bin(HINT_TRAILER, MetadataValue::from_bytes("log in".as_bytes()));
        let status = Status::with_metadata(Code::Unavailable, "no answer", trailers);
        let failure = refusal(&daemon(), &status).unwrap().failure();
        assert_eq!(
            (failure.reason.as_str(), failure.message.as_str(), failure.hint.as_str()),
            ("registry", "no answer", "log in")
        );
        let broken = refusal(&daemon(), &Status::unavailable("transport error")).unwrap_err();
        assert_eq!(broken.to_string(), "cannot reach bpfmand at /nowhere/sock: transport error");
        assert_eq!(refusal(&daemon(), &Status::unimplemented("")).unwrap(), CallRefusal::Absent);
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_is_named_with_its_error() {
        let status = daemon().ext().info(ext::InfoRequest {}).await.unwrap_err();
        let broken = refusal(&daemon(), &status).unwrap_err();
        assert!(broken.why.contains("No such file or directory"), "{broken}");
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let failure_text = failure("kernel-refused", &"ü".repeat(4000), "");
        assert!(failure_text.message.len() <= MAX_MESSAGE);
        assert!(failure_text.message.ends_with("ü …"));
    }
}
