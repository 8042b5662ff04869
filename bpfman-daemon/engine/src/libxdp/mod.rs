//! Hooks that libxdp holds (`xdp-loader` and the applications that use it): read, joined and left in its own protocol.
//!
//! libxdp runs several programs at one XDP hook by a dispatcher, whose functions the programs take the place of
//! ("freplace"). The protocol is written down in the document `protocol.org` of xdp-tools: name, configuration, pins, lock
//! and the order of steps. A change is a new dispatcher with all programs, which takes the old one's place in one step
//! if that is still there; nobody's program is loaded again, and each keeps its id.
//!
//! The dispatcher itself, and its configuration, which is its one map, are made and read by `bpfmand_splice`.
//!
//! - [`look`]: what is there.
//! - [`build`]: a new dispatcher beside the old one.
//! - [`switch`]: the new one in the old one's place, and how that is undone.
//! - [`recover`]: what a crash left.

mod build;
mod look;
mod recover;
mod switch;

use std::path::{Path, PathBuf};

use bpfmand_core::{IfIndex, ProgramId};

pub use look::{DispatcherAtHook, SlotProgram};
pub use switch::NewDispatcher;

/// The folder of a dispatcher's pins.
pub fn folder(pins: &Path, ifindex: IfIndex, dispatcher: ProgramId) -> PathBuf {
    pins.join(format!("dispatch-{ifindex}-{dispatcher}"))
}

/// The pin of the program in a slot.
pub fn program_pin(slot: usize) -> String {
    format!("prog{slot}-prog")
}

/// The pin of the link that puts it there.
pub fn link_pin(slot: usize) -> String {
    format!("prog{slot}-link")
}
