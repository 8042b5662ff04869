//! Which failures are worth another try, and how long to wait before it.
//!
//! A caller waits for the pull meanwhile: there are few tries, tenths of a second apart. Who asked tries the whole pull again
//! (the node's agent by `RegistryBackoff`). How fast an answer has to come is in [`crate::pace`].

use std::error::Error;
use std::io;
use std::time::Duration;

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

/// True if the connection failed rather than the request.
pub(crate) fn error(error: &reqwest::Error) -> bool {
    !error.is_redirect() && !error.is_builder() && !is_untrusted_certificate(error)
}

/// A certificate that is not trusted will not be a moment later.
fn is_untrusted_certificate(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        // What an I/O error wraps is not among its sources.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = wrapped.map(|wrapped| wrapped as &(dyn Error + 'static)).or_else(|| error.source());
    }
    false
}

/// How long to wait before try number `next` (from 1), unless the registry said so itself.
pub(crate) fn wait(next: u32, headers: Option<&HeaderMap>) -> Duration {
    let asked = headers
        .and_then(|headers| headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok())
        .map(|seconds| Duration::from_secs(seconds).min(LONGEST));
    asked.unwrap_or_else(|| Duration::from_millis(100) * 4_u32.saturating_pow(next.saturating_sub(1)))
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
    fn a_certificate_is_found_within_errors_of_any_depth() {
        let untrusted = || rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert!(is_untrusted_certificate(&io::Error::other(io::Error::other(untrusted()))));
        assert!(is_untrusted_certificate(&crate::ImageError::Unreachable {
            registry: "r.io".to_owned(),
            what: "it".to_owned(),
            source: untrusted().into(),
        }));
        assert!(!is_untrusted_certificate(&io::Error::other("certificate")));
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        assert!(wait(1, None) < wait(2, None));
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "86400".parse().unwrap());
        assert_eq!(wait(1, Some(&headers)), LONGEST);
    }
}
