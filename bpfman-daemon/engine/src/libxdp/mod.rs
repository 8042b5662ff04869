//! Hooks that libxdp holds (`xdp-loader` and the applications that use it): read, joined and left in libxdp's protocol.
//!
//! libxdp runs several programs at one XDP hook by a dispatcher, whose functions the programs replace ("freplace"). The
//! protocol is defined in `protocol.org` of xdp-tools: name, configuration, pins, lock and the order of steps. A change
//! builds a new dispatcher with all programs and swaps it for the old one in one step, if that is still there; no
//! third-party program is loaded again, and each keeps its id.
//!
//! The dispatcher itself, and its configuration in its one map, are built and read by `bpfmand_splice`.
//!
//! - [`look`]: reads the present state.
//! - [`build`]: builds a new dispatcher beside the old one.
//! - [`switch`]: swaps the new one for the old one, and undoes it.
//! - [`recover`]: recovers after a crash.

mod build;
mod observe;
mod recover;
mod switch;

use std::path::{Path, PathBuf};

use bpfmand_core::{IfIndex, ProgramId};

pub use observe::{DispatcherAtHook, SlotProgram};
pub use switch::NewDispatcher;

/// Returns the folder of a dispatcher's pins.
pub fn folder(pins: &Path, ifindex: IfIndex, dispatcher: ProgramId) -> PathBuf {
    pins.join(format!("dispatch-{ifindex}-{dispatcher}"))
}

/// Returns the name of the pin of the program in a slot.
pub fn program_pin(slot: usize) -> String {
    format!("prog{slot}-prog")
}

/// Returns the name of the pin of the link that attaches a slot's program.
pub fn link_pin(slot: usize) -> String {
    format!("prog{slot}-link")
}
