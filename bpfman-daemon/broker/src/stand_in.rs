//! The program that a caller gets for one that can do nothing, of a type that its grant does not have.
//!
//! A descriptor of a program is the right to attach it, also for a process outside of the session. Libraries load such programs
//! to learn whether the kernel takes them, and look only at that.

use std::os::fd::OwnedFd;

use bpfman_model::uapi::prog_type;
use bpfmand_calls::{CallAttr, Errno, FieldValue, command, layout};
use bpfmand_kernel::linux::brokered::{self, CallValue};

/// r0 = 0; exit
const NOTHING: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// Loads a filter of sockets, which every process may load and attach to its own.
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
