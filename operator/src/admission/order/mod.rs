//! Detection of contradicting orders across all applications.
//!
//! A cycle is reported only if all members could be on one interface: same hook, kind of network namespace, and node.
//! Unknown facts count as possible: primary interfaces, overlapping patterns, and labels.

mod cycle;
mod overlap;
mod rank;
mod slot;

pub use cycle::{Cycle, find};
pub use rank::{RankConflict, against_ranks};
pub use slot::{ApplicationName, PacketSlot, SlotAnchor, slots, unknown_anchors};
