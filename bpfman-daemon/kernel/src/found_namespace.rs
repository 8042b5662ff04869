use std::path::PathBuf;

/// Result of a search for a network namespace. Its path may be removed or reused while the namespace remains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundNamespace {
    /// The daemon's own.
    Own,
    /// The namespace at this path.
    At(PathBuf),
    /// The namespace has certainly ended, with all its interfaces.
    Ended,
    /// No path leads to it: it has ended, or is held by a descriptor, a hidden mount, or a netfilter link.
    NotFound,
}
