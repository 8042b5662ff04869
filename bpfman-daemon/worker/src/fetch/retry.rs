//! Retries of failed requests: which errors, and after which delay.
//!
//! The caller waits meanwhile: there are few attempts, tenths of a second apart. The caller retries the whole pull (the
//! node's agent by `RegistryBackoff`). [`super::pace`] decides how fast an answer must arrive.

use std::time::{Duration, SystemTime};

use bpfman_image_format::{TlsFailure, retry_after};
use bpfman_registry::tls_failure;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

pub(crate) const TRIES: u32 = 3;
const MAX_DELAY: Duration = Duration::from_secs(5);

/// Returns whether the registry or a proxy is busy or restarting. Other statuses are final.
pub(crate) fn status(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Returns whether the connection failed, not the request. An untrusted certificate is final.
pub(crate) fn error(error: &reqwest::Error) -> bool {
    !error.is_redirect() && !error.is_builder() && tls_failure(error) != Some(TlsFailure::Certificate)
}

pub(crate) fn pause(next: u32) -> Duration {
    Duration::from_millis(100) * 4_u32.saturating_pow(next.saturating_sub(1))
}

/// Returns the delay; `None` if the registry requests more than `MAX_DELAY`: it may count earlier attempts as abuse.
pub(crate) fn wait(next: u32, headers: Option<&HeaderMap>) -> Option<Duration> {
    let asked = headers.and_then(|headers| retry_after(headers, SystemTime::now()));
    match asked.map(Duration::from_secs) {
        Some(asked) if asked > MAX_DELAY => None,
        // If this clock is ahead, the registry's date has passed.
        Some(asked) => Some(asked.max(pause(next))),
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
        for (asked, waited) in [("5", Some(MAX_DELAY)), ("0", Some(pause(1))), ("86400", None)] {
            let headers = HeaderMap::from_iter([(reqwest::header::RETRY_AFTER, asked.parse().unwrap())]);
            assert_eq!(wait(1, Some(&headers)), waited, "{asked}");
        }
    }
}
