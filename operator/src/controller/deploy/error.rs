//! Errors of the deployment.

use thiserror::Error;

#[derive(Debug, Error)]
pub enum DeployError {
    /// The API server refused a request or did not answer; with the object of the request.
    #[error("{0}: {1}")]
    Api(String, kube::Error),
    #[error("namespace {0}: not found; create it")]
    NoNamespace(String),
    /// The PriorityClass does not exist, so that no pod would be created.
    #[error("spec.priorityClassName: there is no PriorityClass {0}; nothing was changed")]
    NoPriorityClass(String),
    #[error("{0}; nothing was changed")]
    Invalid(String),
    /// The API server would refuse an object; with its name.
    #[error("{0} would be refused: {1}; nothing was changed")]
    Refused(String, kube::Error),
    /// The `Config` is being deleted, but its deployment has to stay; with the reason.
    #[error("{0}")]
    Held(String),
}

impl DeployError {
    /// Converts an error of the API server, with the object of the request.
    pub fn about(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        |error| Self::Api(what.into(), error)
    }
}
