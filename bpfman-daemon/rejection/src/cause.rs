//! Causes that are known: what a message means, and what to do about it.

use crate::known::KNOWN;
use crate::pattern::{filled, holes};

/// What a message of the verifier means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectionCause {
    /// A word for scripts, which stays the same over kernels.
    pub word: &'static str,
    /// What the program does that it may not. The subject is "it".
    pub sentence: String,
    /// What its author can do about it.
    pub advice: &'static str,
}

impl RejectionCause {
    /// The cause that a message names; none if it is not known.
    #[must_use]
    pub fn of(message: &str) -> Option<Self> {
        KNOWN.iter().find_map(|known| {
            let sentence = filled(known.sentence, &holes(known.pattern, message)?);
            Some(Self { word: known.word, sentence, advice: known.advice })
        })
    }
}
