use std::fmt;

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

impl RegistryAnswer {
    /// Creates an answer from status, headers, and as much of the body as was read.
    #[must_use]
    pub fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
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
    fn answer_is_told_with_its_words() {
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
