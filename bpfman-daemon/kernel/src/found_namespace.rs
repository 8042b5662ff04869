use std::path::PathBuf;

/// Result of a search for a network namespace.
///
/// A path is only a name: it can be removed or given to another namespace, while the namespace and everything attached
/// there remain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundNamespace {
    /// The daemon's own.
    Own,
    /// The namespace at this path.
    At(PathBuf),
    /// The namespace has certainly ended, with all its interfaces.
    Ended,
    /// No path leads to it. It has ended, or is held without a path: by a descriptor, a mount that this process does
    /// not see, or a netfilter link.
    NotFound,
}
