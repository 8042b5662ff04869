//! What an error says besides its sentence, and what is added to it on its way.

use std::time::Duration;

use bpfmand_core::LinkId;
use bpfmand_kernel::KernelError;

use super::EngineError;

/// None of what another call ended since it was looked up.
pub fn if_there<T>(result: Result<T, EngineError>) -> Result<Option<T>, EngineError> {
    match result {
        Err(EngineError::NoLink(_) | EngineError::NoMatching(_)) => Ok(None),
        result => result.map(Some),
    }
}

/// The link at a hook that takes one program.
pub fn in_the_way(link: Option<LinkId>) -> String {
    link.map_or_else(|| "a link of another owner".to_owned(), |link| format!("link {link}"))
}

/// The rest of a sentence about a freeze that lasts until it is released: when it ends by itself.
pub fn or_ends(left: Option<Duration>) -> String {
    left.map_or_else(String::new, |left| format!(", for another {} s at most", left.as_secs().max(1)))
}

/// The names that could have been said.
pub fn maps_that_are_there(there: &[String]) -> String {
    if there.is_empty() { "it has none".to_owned() } else { format!("it has: {}", there.join(", ")) }
}

impl EngineError {
    /// True if somebody else changed the hook between the look and the change.
    pub(crate) const fn is_race(&self) -> bool {
        matches!(self, Self::Kernel(KernelError::HookChanged { .. } | KernelError::NoAnchor { .. }))
    }

    /// Names what was looked for in a network namespace that is not found: the kernel knows interfaces by number.
    pub(crate) fn looking_for(self, name: impl std::fmt::Display) -> Self {
        match self {
            Self::Kernel(KernelError::NamespaceNotFound { netns, .. }) => {
                KernelError::NamespaceNotFound { subject: name.to_string(), netns }.into()
            }
            error => error,
        }
    }

    /// Adds where the object file came from.
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

    /// The verifier's whole log, if there is one.
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
