//! Creation of a map.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// `BPF_MAP_CREATE`.
const MAP_CREATE: libc::c_long = 0;

/// Creates a map whose memory the kernel charges to the cgroup of this process. The descriptors in the attribute are those of
/// this process.
pub fn create_map(attr: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: the attribute is live, and the kernel only reads it, and what it points to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, MAP_CREATE, attr.as_ptr(), attr.len()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so its answer is a new descriptor without another owner.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}
