//! Hooks that libxdp holds (`xdp-loader` and the applications that use it): read, joined and left in libxdp's protocol.
//!
//! libxdp runs several programs at one XDP hook by a dispatcher, whose functions the programs replace ("freplace"). The
//! protocol is defined in `protocol.org` of xdp-tools: name, configuration, pins, lock and the order of steps. A change
//! builds a new dispatcher and swaps it for the old one, if that is still there; third-party programs keep their ids.

mod build;
mod observe;
mod recover;
mod switch;

use std::path::{Path, PathBuf};

use bpfman_model::{IfIndex, ProgramId};

pub use observe::{DispatcherAtHook, SlotProgram};
pub use switch::NewDispatcher;

pub fn folder(pins: &Path, ifindex: IfIndex, dispatcher: ProgramId) -> PathBuf {
    pins.join(format!("dispatch-{ifindex}-{dispatcher}"))
}

pub fn program_pin(slot: usize) -> String {
    format!("prog{slot}-prog")
}

pub fn link_pin(slot: usize) -> String {
    format!("prog{slot}-link")
}
