//! What others do to what is ours.

use bpfmand_core::LinkId;

/// Others are in the way, or changed what is ours.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Interference {
    /// Others change a hook without end.
    #[error("its hook is being changed all the time")]
    Restless,
    /// The place of a chain is another chain's by now.
    #[error("another chain of bpfman is at this interface now")]
    PlaceTaken,
    /// This program of someone else is in a link of ours.
    #[error("someone put {0} into its link, which is left as it is")]
    TakenOver(String),
    /// So many links without pins, of which one may be this one.
    #[error(
        "the pin of link {0} was removed, and {1} links of its program run without a pin: nobody knows which is \
         this one; unload the program, which ends all of them"
    )]
    Unpinned(LinkId, usize),
}
