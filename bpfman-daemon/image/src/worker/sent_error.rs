//! Errors as a worker sends them: the kind with its data, and causes as text.
#![expect(
    missing_docs,
    reason = "messages between two programs of one version, whose fields name their contents"
)]

use bpfman_image_format::{Digest, RegistryAnswer, TlsFailure, causes};
use serde::{Deserialize, Serialize};

use crate::error::ErrorCause;
use crate::{AuthorizationError, ImageError};

#[derive(Debug, Serialize, Deserialize)]
pub enum SentError {
    NotFound {
        what: String,
    },
    Unauthorized {
        registry: String,
        what: String,
        why: String,
    },
    /// `Unauthorized`, with the answer of the registry.
    Forbidden {
        registry: String,
        what: String,
        answer: RegistryAnswer,
    },
    RegistryRefused {
        registry: String,
        what: String,
        answer: RegistryAnswer,
    },
    Unreachable {
        registry: String,
        what: String,
        tls: Option<TlsFailure>,
        why: String,
    },
    Malformed {
        what: String,
        why: String,
    },
    Unsupported {
        what: String,
        why: String,
    },
    NoObject {
        what: String,
        why: String,
    },
    WrongDigest {
        what: String,
        expected: Digest,
        found: Digest,
    },
    TooLarge {
        what: String,
        size: Option<u64>,
        limit: u64,
    },
    Client {
        of: String,
        why: String,
    },
    Slow {
        registry: String,
        what: String,
        bytes: u64,
        seconds: u64,
    },
    Bytecode {
        image: String,
        why: String,
    },
    Label {
        image: String,
        why: String,
    },
}

impl From<ImageError> for SentError {
    fn from(error: ImageError) -> Self {
        let text = |source: &ErrorCause| causes(&**source);
        match error {
            ImageError::NotFound { what } => Self::NotFound { what },
            ImageError::Unauthorized { registry, what, why } => match *why {
                AuthorizationError::Refused(answer) => Self::Forbidden { registry, what, answer },
                why => Self::Unauthorized { registry, what, why: why.to_string() },
            },
            ImageError::RegistryRefused { registry, what, answer } => {
                Self::RegistryRefused { registry, what, answer }
            }
            ImageError::Unreachable { registry, what, tls, source } => {
                Self::Unreachable { registry, what, tls, why: text(&source) }
            }
            ImageError::Malformed { what, source } => Self::Malformed { what, why: text(&source) },
            ImageError::Unsupported { what, source } => Self::Unsupported { what, why: text(&source) },
            ImageError::NoObject { what, source } => Self::NoObject { what, why: text(&source) },
            ImageError::WrongDigest { what, expected, found } => Self::WrongDigest { what, expected, found },
            ImageError::TooLarge { what, size, limit } => Self::TooLarge { what, size, limit },
            ImageError::Client { of, source } => Self::Client { of, why: text(&source) },
            ImageError::Slow { registry, what, bytes, seconds } => {
                Self::Slow { registry, what, bytes, seconds }
            }
            ImageError::Bytecode { image, source } => Self::Bytecode { image, why: text(&source) },
            ImageError::Label { image, source } => Self::Label { image, why: text(&source) },
            // Workers do no work that fails with another error.
            other => Self::Malformed { what: "the work of a worker".to_owned(), why: other.to_string() },
        }
    }
}

/// Maximum size of a worker's text, in bytes, which becomes part of errors and of the log.
const TEXT: usize = 4 << 10;

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT));
    text
}

impl From<SentError> for ImageError {
    fn from(error: SentError) -> Self {
        let cause = |why| cut(why).into();
        match error {
            SentError::NotFound { what } => Self::NotFound { what: cut(what) },
            SentError::Unauthorized { registry, what, why } => Self::Unauthorized {
                registry: cut(registry),
                what: cut(what),
                why: Box::new(AuthorizationError::Reported(cut(why))),
            },
            SentError::Forbidden { registry, what, answer } => Self::Unauthorized {
                registry: cut(registry),
                what: cut(what),
                why: Box::new(AuthorizationError::Refused(answer.cut(cut))),
            },
            SentError::RegistryRefused { registry, what, answer } => {
                Self::RegistryRefused { registry: cut(registry), what: cut(what), answer: answer.cut(cut) }
            }
            SentError::Unreachable { registry, what, tls, why } => {
                Self::Unreachable { registry: cut(registry), what: cut(what), tls, source: cause(why) }
            }
            SentError::Malformed { what, why } => Self::Malformed { what: cut(what), source: cause(why) },
            SentError::Unsupported { what, why } => Self::Unsupported { what: cut(what), source: cause(why) },
            SentError::NoObject { what, why } => Self::NoObject { what: cut(what), source: cause(why) },
            SentError::WrongDigest { what, expected, found } => {
                Self::WrongDigest { what: cut(what), expected, found }
            }
            SentError::TooLarge { what, size, limit } => Self::TooLarge { what: cut(what), size, limit },
            SentError::Client { of, why } => Self::Client { of: cut(of), source: cause(why) },
            SentError::Slow { registry, what, bytes, seconds } => {
                Self::Slow { registry: cut(registry), what: cut(what), bytes, seconds }
            }
            SentError::Bytecode { image, why } => Self::Bytecode { image: cut(image), source: cause(why) },
            SentError::Label { image, why } => Self::Label { image: cut(image), source: cause(why) },
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn failures_say_the_same_after_they_were_sent() {
        let what = || "the blob".to_owned();
        let registry = || "quay.io".to_owned();
        let (digest, answer) = (Digest::of(b""), RegistryAnswer::of_status);
        for error in [
            ImageError::NotFound { what: what() },
            ImageError::Unauthorized {
                registry: registry(),
                what: what(),
                why: Box::new(AuthorizationError::NoCredential),
            },
            ImageError::Unreachable {
                registry: registry(),
                what: what(),
                tls: Some(TlsFailure::NoTls),
                source: "a cause".into(),
            },
            ImageError::Unauthorized {
                registry: registry(),
                what: what(),
                why: Box::new(AuthorizationError::Refused(answer(StatusCode::FORBIDDEN))),
            },
            ImageError::RegistryRefused {
                registry: registry(),
                what: what(),
                answer: answer(StatusCode::TOO_MANY_REQUESTS),
            },
            ImageError::Unsupported { what: what(), source: "a cause".into() },
            ImageError::NoObject { what: what(), source: "a cause".into() },
            ImageError::Malformed { what: what(), source: "a cause".into() },
            ImageError::WrongDigest { what: what(), expected: digest, found: digest },
            ImageError::TooLarge { what: what(), size: None, limit: 7 },
            ImageError::Client { of: what(), source: "a cause".into() },
            ImageError::Slow { registry: registry(), what: what(), bytes: 1, seconds: 2 },
            ImageError::Bytecode { image: what(), source: "a cause".into() },
            ImageError::Label { image: what(), source: "a cause".into() },
        ] {
            let (text, category, hint) = (error.to_string(), error.category(), error.hint());
            let sent = serde_json::to_vec(&SentError::from(error)).unwrap();
            let told = ImageError::from(serde_json::from_slice::<SentError>(&sent).unwrap());
            assert_eq!((told.to_string(), told.category(), told.hint()), (text, category, hint));
        }
    }
}
