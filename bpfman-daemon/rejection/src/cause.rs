use crate::known::KNOWN;
use crate::pattern::{filled, holes};

/// Meaning of a message of the verifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectionCause {
    /// Identifier for scripts, the same for all kernels.
    pub word: &'static str,
    /// Forbidden action of the program, as a sentence with the subject "it".
    pub sentence: String,
    /// Advice for the program's author.
    pub advice: &'static str,
}

impl RejectionCause {
    /// Returns the cause of a message; `None` if it is unknown.
    #[must_use]
    pub fn of(message: &str) -> Option<Self> {
        KNOWN.iter().find_map(|known| {
            let sentence = filled(known.sentence, &holes(known.pattern, message)?);
            Some(Self { word: known.word, sentence, advice: known.advice })
        })
    }
}
