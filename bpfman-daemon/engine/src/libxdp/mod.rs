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
use bpfmand_kernel::{Kernel, KernelError};

use crate::Engine;

pub use observe::{DispatcherAtHook, SlotProgram};
pub use switch::NewDispatcher;

pub fn folder(pins: &Path, ifindex: IfIndex, dispatcher: ProgramId) -> PathBuf {
    pins.join(format!("dispatch-{ifindex}-{dispatcher}"))
}

impl<K: Kernel> Engine<K> {
    /// Returns the folder with a dispatcher's pins. Its name keeps the number that the interface had before it moved.
    fn dispatcher_folder(&self, ifindex: IfIndex, dispatcher: ProgramId) -> Result<PathBuf, KernelError> {
        let pins = &self.options.libxdp_pins;
        let is_it = |name: &String| {
            let numbers = name.strip_prefix("dispatch-").and_then(|numbers| numbers.split_once('-'));
            numbers.is_some_and(|(_, id)| id.parse() == Ok(dispatcher.0))
        };
        let named = folder(pins, ifindex, dispatcher);
        if !self.kernel.list_folder(&named)?.is_empty() {
            return Ok(named);
        }
        Ok(self.kernel.list_folder(pins)?.into_iter().find(is_it).map_or(named, |name| pins.join(name)))
    }
}

pub fn program_pin(slot: usize) -> String {
    format!("prog{slot}-prog")
}

pub fn link_pin(slot: usize) -> String {
    format!("prog{slot}-link")
}
