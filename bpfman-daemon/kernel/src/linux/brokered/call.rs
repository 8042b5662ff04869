//! Calls of bpf(2) with an attribute of a known layout ([`AttrLayout`]).

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

use bpfmand_calls::{AttrLayout, CallAttr, Errno, FieldValue};

use super::filled::{Filled, Passed};
use crate::KernelError;
use crate::linux::netns;

#[derive(Debug)]
pub enum CallValue {
    Number(i64),
    Descriptor(OwnedFd),
}

/// Outcome of a call.
#[derive(Debug)]
pub struct CallResult {
    /// Return value, or the kernel's error.
    pub result: Result<CallValue, Errno>,
    /// The attribute after the call, without pointers and descriptors.
    pub attr: CallAttr,
    /// Buffers that the kernel may have written, in the order of their fields; `None` where the caller has none.
    pub outputs: Vec<Option<Vec<u8>>>,
}

/// Calls bpf(2), in a network namespace if one is given.
///
/// # Errors
/// The values do not fit the layout, so that no call was made.
pub fn call_by_layout(
    layout: &AttrLayout,
    attr: CallAttr,
    values: &[FieldValue],
    (buffers, descriptors): (&[Vec<u8>], &[OwnedFd]),
    namespace: Option<&OwnedFd>,
) -> Result<CallResult, Errno> {
    let mut filled = Filled::new(layout, attr, values, &Passed { buffers, descriptors })?;
    let result = match namespace {
        None => bpf(layout, &mut filled),
        Some(namespace) => {
            let inside = netns::enter_held(namespace, || Ok(bpf(layout, &mut filled)));
            inside.unwrap_or_else(|error: KernelError| Err(errno_of(&error)))
        }
    };
    let (attr, outputs) = filled.into_written();
    Ok(CallResult { result, attr, outputs })
}

fn errno_of(error: &KernelError) -> Errno {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .and_then(io::Error::raw_os_error)
        .map_or(Errno::PERM, Errno)
}

fn bpf(layout: &AttrLayout, filled: &mut Filled) -> Result<CallValue, Errno> {
    let bytes = filled.attr.bytes_mut();
    // SAFETY: `filled` keeps everything alive that the attribute points to: `Filled::new` set each pointer that the layout
    // has for this command to null or to a buffer of the length that the attribute gives for it, and `CallAttr::copy` refused
    // bytes behind those that the layout knows. The kernel reads and writes at most `bytes.len()` bytes of the attribute.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, libc::c_long::from(layout.command), bytes.as_mut_ptr(), bytes.len())
    };
    if result < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(match layout.returns {
        None => CallValue::Number(result),
        // SAFETY: commands with this layout return a new descriptor without another owner.
        Some(_) => CallValue::Descriptor(unsafe { OwnedFd::from_raw_fd(result as i32) }),
    })
}
