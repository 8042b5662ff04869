use bpfman_model::{Hint, Reason};

/// Failure to fetch or verify an image.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ImageFailure {
    pub kind: Reason,
    /// Message: the step that failed, its subject and the cause.
    pub message: String,
    /// Next step for the user.
    pub hint: Option<Hint>,
}
