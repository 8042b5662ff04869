//! Interference by other tools with the daemon's attachments.

use bpfman_model::LinkId;

/// Another tool blocks or changed an attachment of ours.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Interference {
    #[error("its hook is being changed all the time")]
    ConcurrentChanges,
    #[error("another chain of bpfman is at this interface now")]
    PlaceTaken,
    #[error("someone put {0} into its link, which is left as it is")]
    TakenOver(String),
    /// The link, and the number of unpinned links that may be this one.
    #[error(
        "the pin of link {0} was removed, and {1} links of its program run without a pin: it is unknown which is \
         this one; unload the program, which ends all of them"
    )]
    Unpinned(LinkId, usize),
}
