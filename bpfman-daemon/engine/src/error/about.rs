//! Details of an error, and context that is added as it propagates.

use std::time::Duration;

use bpfman_model::LinkId;
use bpfmand_kernel::KernelError;

use super::EngineError;

/// Returns `None` if another call ended the link or attachment meanwhile.
pub fn if_there<T>(result: Result<T, EngineError>) -> Result<Option<T>, EngineError> {
    match result {
        Err(EngineError::NoLink(_) | EngineError::NoMatching(_)) => Ok(None),
        result => result.map(Some),
    }
}

pub fn in_the_way(link: Option<LinkId>) -> String {
    link.map_or_else(|| "a link of another owner".to_owned(), |link| format!("link {link}"))
}

pub fn or_ends(left: Option<Duration>) -> String {
    left.map_or_else(String::new, |left| format!(", for another {} s at most", left.as_secs().max(1)))
}

pub fn maps_that_are_there(there: &[String]) -> String {
    if there.is_empty() { "it has none".to_owned() } else { format!("it has: {}", there.join(", ")) }
}

impl EngineError {
    /// Returns whether the hook was changed between reading and changing it.
    pub(crate) const fn is_race(&self) -> bool {
        matches!(self, Self::Kernel(KernelError::HookChanged { .. } | KernelError::NoAnchor { .. }))
    }

    /// Names the interface: the kernel identifies it by number alone.
    pub(crate) fn looking_for(self, name: impl std::fmt::Display) -> Self {
        match self {
            Self::Kernel(KernelError::NamespaceNotFound { netns, .. }) => {
                KernelError::NamespaceNotFound { subject: name.to_string(), netns }.into()
            }
            error => error,
        }
    }

    pub(crate) fn of(self, origin: &str) -> Self {
        match self {
            Self::Object(source) => Self::Bytes { origin: origin.to_owned(), source: Box::new(source) },
            Self::NotInKernel { what, source, .. } => {
                Self::NotInKernel { origin: format!("{origin}: "), what, source }
            }
            Self::NotUndone { cause, failures } => {
                Self::NotUndone { cause: Box::new(cause.of(origin)), failures }
            }
            other => other,
        }
    }

    /// Returns the verifier's whole log, if there is one.
    #[must_use]
    pub fn verifier_log(&self) -> Option<&str> {
        match self {
            Self::Kernel(error) => error.verifier_log(),
            Self::NotInKernel { source, .. } => source.verifier_log(),
            Self::ChainRefused { source, .. } => source.verifier_log(),
            Self::NotUndone { cause, .. } => cause.verifier_log(),
            _ => None,
        }
    }
}
