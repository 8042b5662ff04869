//! Substitute for a program without effect, if the caller's grant lacks its type: a socket filter.
//!
//! Libraries load such programs to detect features, and only check that the load succeeds. The caller does not get the loaded
//! program itself: a descriptor allows any process, also outside of the session, to attach it.

use std::os::fd::OwnedFd;

use bpfman_model::uapi::prog_type;
use bpfmand_calls::{CallAttr, Errno, FieldValue, command, layout};
use bpfmand_kernel::linux::brokered::{self, CallValue};

/// r0 = 0; exit
const NOTHING: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// Loads a socket filter, which every process may load and attach to its own sockets.
pub fn load() -> Result<OwnedFd, Errno> {
    let layout = layout(command::PROG_LOAD).ok_or(Errno::INVAL)?;
    let mut bytes = vec![0; layout.known];
    bytes[..4].copy_from_slice(&prog_type::SOCKET_FILTER.to_ne_bytes());
    bytes[4..8].copy_from_slice(&((NOTHING.len() / 8) as u32).to_ne_bytes());
    let mut attr = CallAttr::copy(&bytes, layout.known)?;
    let mut values = vec![FieldValue::Absent; layout.fields(&mut attr)?.len()];
    // Instructions and licence are the first field and the third.
    (values[0], values[2]) = (FieldValue::Buffer(0), FieldValue::Buffer(1));
    let buffers = [NOTHING.to_vec(), Vec::new()];
    match brokered::call_by_layout(layout, attr, &values, (&buffers, &[]), None)?.result? {
        CallValue::Descriptor(program) => Ok(program),
        CallValue::Number(_) => Err(Errno::INVAL),
    }
}
