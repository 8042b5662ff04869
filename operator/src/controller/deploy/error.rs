//! Why the deployment is not as it should be.

use thiserror::Error;

/// Why the deployment is not as it should be.
#[derive(Debug, Error)]
pub enum DeployError {
    /// The API server refused, or did not answer; with what it was about.
    #[error("{0}: {1}")]
    Api(String, kube::Error),
    /// There is no such namespace.
    #[error("namespace {0}: not found; create it")]
    NoNamespace(String),
    /// There is no such PriorityClass: pods would never be made.
    #[error("spec.priorityClassName: there is no PriorityClass {0}; nothing was changed")]
    NoPriorityClass(String),
    /// The `Config` says what cannot be.
    #[error("{0}; nothing was changed")]
    Invalid(String),
    /// The API server would refuse an object; with what it was about.
    #[error("{0} would be refused: {1}; nothing was changed")]
    Refused(String, kube::Error),
    /// The `Config` is being deleted, and what was deployed for it has to stay; with the reason.
    #[error("{0}")]
    Held(String),
}

impl DeployError {
    /// From what the API server says of something.
    pub fn about(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        |error| Self::Api(what.into(), error)
    }
}
