//! Orders that contradict each other, over all applications.
//!
//! A cycle is told only if one interface could have all of its members: the same hook, in the same kind of network
//! namespace, on the same node. What cannot be known here counts as possible: which interface is a node's primary one,
//! which names two patterns have in common, which labels nodes and pods get.

mod cycle;
mod overlap;
mod rank;
mod slot;

pub use cycle::{Cycle, find};
pub use rank::{RankConflict, against_ranks};
pub use slot::{ApplicationName, PacketSlot, SlotAnchor, slots, unknown_anchors};
