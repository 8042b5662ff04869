use std::fmt;
use std::time::SystemTime;

use http::StatusCode;
use http::header::{HeaderMap, RETRY_AFTER};
use serde::{Deserialize, Serialize};

use crate::registry_words::registry_words;

/// Answer that refuses a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryAnswer {
    status: u16,
    words: Option<String>,
    retry_after: Option<u64>,
}

/// Returns the seconds to wait by `Retry-After`, a number or a date; 0 for a date that has passed.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    value.parse().ok().or_else(|| {
        let until = httpdate::parse_http_date(value).ok()?;
        Some(until.duration_since(now).map_or(0, |left| left.as_millis().div_ceil(1000) as u64))
    })
}

impl RegistryAnswer {
    /// Creates an answer from status, headers, and as much of the body as was read.
    #[must_use]
    pub fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let retry_after = retry_after(headers, SystemTime::now());
        Self { status: status.as_u16(), words: registry_words(body), retry_after }
    }

    /// Creates an answer from the status alone.
    #[must_use]
    pub const fn of_status(status: StatusCode) -> Self {
        Self { status: status.as_u16(), words: None, retry_after: None }
    }

    /// Shortens the explanation by `cut`.
    #[must_use]
    pub fn cut(self, cut: impl FnOnce(String) -> String) -> Self {
        Self { words: self.words.map(cut), ..self }
    }

    /// Returns the HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Returns whether the registry gave an explanation.
    #[must_use]
    pub const fn explains(&self) -> bool {
        self.words.is_some()
    }

    /// Returns the explanation of an answer of 404, unless it only reports that the content does not exist.
    #[must_use]
    pub fn unusual_words(&self) -> Option<&str> {
        const USUAL: [&str; 6] = [
            "manifest unknown",
            "blob unknown",
            "not known to registry",
            "not found",
            "name unknown",
            "notfound",
        ];
        let words = self.words.as_deref()?;
        let plain = words.to_lowercase().replace('_', " ");
        let message = plain.split_once(": ").map_or(&*plain, |(_, message)| message);
        let is_usual = |text: &str| USUAL.iter().any(|usual| text.contains(usual));
        (!is_usual(message)).then_some(words)
    }

    /// Returns whether the registry is busy or broken, so that the same request may succeed later.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self.status, 408 | 425 | 429)
            || self.status >= 500 && self.status != 501 && self.status != 505
    }
}

impl fmt::Display for RegistryAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match StatusCode::from_u16(self.status) {
            Ok(status) => status.fmt(f)?,
            Err(_) => self.status.fmt(f)?,
        }
        if let Some(words) = &self.words {
            write!(f, ": {words}")?;
        }
        match self.retry_after {
            Some(seconds) => write!(f, "; it asks to wait for {seconds} s"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_of_a_pause_is_read_as_seconds() {
        let at = |value: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            retry_after(&headers, SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(784_111_777))
        };
        assert_eq!((at("7"), at("soon"), at("-1")), (Some(7), None, None));
        assert_eq!(at("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30));
        assert_eq!(at("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
        assert_eq!(at("Sat, 01 Jan 1994 00:00:00 GMT"), Some(0));
    }

    #[test]
    fn only_words_that_say_more_than_the_status_are_unusual() {
        let words = |text: &str| {
            let answer =
                RegistryAnswer { status: 404, words: Some(format!("\"{text}\"")), retry_after: None };
            answer.unusual_words().is_some()
        };
        for usual in [
            "MANIFEST_UNKNOWN: manifest unknown",
            "NAME_UNKNOWN: repository name not known to registry",
            "BLOB_UNKNOWN: blob unknown to registry",
            "MANIFEST_UNKNOWN: The named manifest is not found",
            "MANIFEST_UNKNOWN",
            "not found",
        ] {
            assert!(!words(usual), "{usual}");
        }
        assert!(words("NAME_UNKNOWN: project is archived"));
        assert!(words("repository was moved to team/b"));
    }

    #[test]
    fn error_contains_the_registry_message() {
        let answer =
            RegistryAnswer { status: 429, words: Some("\"slow down\"".to_owned()), retry_after: Some(60) };
        assert_eq!(answer.to_string(), "429 Too Many Requests: \"slow down\"; it asks to wait for 60 s");
        assert_eq!(RegistryAnswer::of_status(StatusCode::NOT_ACCEPTABLE).to_string(), "406 Not Acceptable");
    }

    #[test]
    fn only_busy_and_broken_registries_are_worth_another_question() {
        let may_pass = |status| RegistryAnswer { status, words: None, retry_after: None }.may_pass();
        assert!([408, 429, 500, 502, 503, 504].into_iter().all(may_pass));
        assert!(![400, 403, 405, 406, 410, 412, 501].into_iter().any(may_pass));
    }
}
