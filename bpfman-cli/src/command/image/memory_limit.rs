//! Memory of a process that talks to a registry.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Data that the process may have, in bytes: a blob of the largest size that is read, twice while its memory grows, and the
/// object in it.
const MAX_DATA: u64 = 512 << 20;

/// Bounds the memory of this process. oci-client 0.18 reads refusals to their end, however long they are
/// (`extract_location_header`: `res.text()`; `stream_from_response`: `response.bytes()`), and takes no limit: a registry without
/// end ends this process instead of using up the machine.
///
/// # Errors
/// The kernel refuses the limit.
pub fn limit_memory() -> io::Result<()> {
    let before = getrlimit(Resource::Data);
    let current = before.current.map_or(MAX_DATA, |current| current.min(MAX_DATA));
    Ok(setrlimit(Resource::Data, Rlimit { current: Some(current), ..before })?)
}
