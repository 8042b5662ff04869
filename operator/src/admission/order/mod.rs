//! Detection of contradicting orders across all applications.
//!
//! A cycle is reported only if all of its members could be on one interface: at the same hook, in the same kind of
//! network namespace, on the same node. Unknown facts count as possible: the primary interface of a node, names that
//! match two patterns, and labels of nodes and pods.

mod cycle;
mod overlap;
mod rank;
mod slot;

pub use cycle::{Cycle, find};
pub use rank::{RankConflict, against_ranks};
pub use slot::{ApplicationName, PacketSlot, SlotAnchor, slots, unknown_anchors};
