use thiserror::Error;

#[derive(Debug, Error)]
pub enum DeployError {
    #[error("{0}: {1}")]
    Api(String, kube::Error),
    #[error("namespace {0}: not found; create it")]
    NoNamespace(String),
    #[error("spec.priorityClassName: there is no PriorityClass {0}; nothing was changed")]
    NoPriorityClass(String),
    #[error("{0}; nothing was changed")]
    Invalid(String),
    #[error("{0} would be refused: {1}; nothing was changed")]
    Refused(String, kube::Error),
    #[error("{0}")]
    Held(String),
}

impl DeployError {
    pub fn about(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        |error| Self::Api(what.into(), error)
    }
}
