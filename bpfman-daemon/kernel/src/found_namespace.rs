//! Results of a search for a network namespace.

use std::path::PathBuf;

/// Where a network namespace is now.
///
/// A path is only a name: it can be removed, and it can be given to another namespace, while the namespace lives on with all
/// that is attached there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundNamespace {
    /// The daemon's own.
    Own,
    /// The namespace that this file leads to.
    At(PathBuf),
    /// Ended, with all its interfaces. Known for certain.
    Ended,
    /// No file leads to it. It has ended, or something without a path keeps it: a descriptor, a mount that this process does
    /// not see, a netfilter link.
    NotFound,
}
