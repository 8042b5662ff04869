//! Memory limit of the process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::CageError;

/// Default limit, in bytes: about a hundred times the daemon's use, and enough for the stacks of 3,000 threads (one for
/// each watched network namespace).
pub const DEFAULT_MEMORY: u64 = 4 << 30;

/// Limits the writable memory of this process (`RLIMIT_DATA`): heap and stacks, without files, maps and programs.
/// Beyond the limit, allocations fail and the process ends, as under a cgroup limit; a cgroup limit would also count
/// the maps of all programs, which stay after the process. A lower existing limit stays. Zero: no limit.
///
/// # Errors
/// Fails if the kernel refuses to lower it.
pub fn limit_memory(bytes: u64) -> Result<(), CageError> {
    if bytes == 0 {
        return Ok(());
    }
    let before = getrlimit(Resource::Data);
    let lower = |limit: Option<u64>| Some(limit.map_or(bytes, |limit| limit.min(bytes)));
    let limit = Rlimit { current: lower(before.current), maximum: lower(before.maximum) };
    setrlimit(Resource::Data, limit).map_err(CageError::Memory)
}
