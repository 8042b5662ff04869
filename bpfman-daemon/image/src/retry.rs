//! Which failures are worth another try, and how long to wait before it.
//!
//! A caller waits for the pull meanwhile: there are few tries, tenths of a second apart. Who asked tries the whole pull again
//! (the node's agent by `RegistryBackoff`). How fast an answer has to come is in [`crate::pace`].

use std::time::Duration;

use bpfman_image_format::TlsFailure;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// Tries of one request, the first included.
pub(crate) const TRIES: u32 = 3;
/// The longest wait that a registry can ask for.
const LONGEST: Duration = Duration::from_secs(5);

/// True if the same request may well succeed a moment later: the registry is busy, restarting, or behind something
/// that is. What it says about the content or the credential stays true.
pub(crate) fn status(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// True if the connection failed rather than the request. A certificate that is not trusted will not be a moment later.
pub(crate) fn error(error: &reqwest::Error) -> bool {
    !error.is_redirect() && !error.is_builder() && TlsFailure::of(error) != Some(TlsFailure::Certificate)
}

/// How long to wait before try number `next` (from 1).
pub(crate) fn pause(next: u32) -> Duration {
    Duration::from_millis(100) * 4_u32.saturating_pow(next.saturating_sub(1))
}

/// The same, as the registry says it in its headers. None if it wants a longer pause than a caller has patience: another
/// try before would only be counted against it.
pub(crate) fn wait(next: u32, headers: Option<&HeaderMap>) -> Option<Duration> {
    let asked = headers.and_then(|headers| headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok());
    match asked.map(Duration::from_secs) {
        Some(asked) if asked > LONGEST => None,
        Some(asked) => Some(asked),
        None => Some(pause(next)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_passing_failures_are_tried_again() {
        for code in [408, 429, 500, 502, 503, 504] {
            assert!(status(StatusCode::from_u16(code).unwrap()), "{code}");
        }
        for code in [400, 401, 403, 404, 405, 406, 416, 501] {
            assert!(!status(StatusCode::from_u16(code).unwrap()), "{code}");
        }
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        assert!(pause(1) < pause(2));
        assert_eq!(wait(1, None), Some(pause(1)));
        for (asked, waited) in [("5", Some(LONGEST)), ("0", Some(Duration::ZERO)), ("86400", None)] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, asked.parse().unwrap())]);
            assert_eq!(wait(1, Some(&headers)), waited, "{asked}");
        }
    }
}
