//! How much memory the process itself may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::CageError;

/// The limit unless root says otherwise, in bytes: some hundred times what the daemon takes, and room for the stacks of
/// 3,000 threads, of which each watched network namespace has one.
pub const DEFAULT_MEMORY: u64 = 4 << 30;

/// Limits the memory that this process may write to (`RLIMIT_DATA`): heap and stacks, not what its files, maps and
/// programs take. Beyond, memory is refused and the process ends, as the kernel would have it under a limit of a cgroup;
/// what counts against such a limit are also the maps of all programs, which stay when the process has ended. A lower limit
/// that it was started with stays. Zero: no limit.
///
/// # Errors
/// The kernel refuses to lower it.
pub fn limit_memory(bytes: u64) -> Result<(), CageError> {
    if bytes == 0 {
        return Ok(());
    }
    let before = getrlimit(Resource::Data);
    let lower = |limit: Option<u64>| Some(limit.map_or(bytes, |limit| limit.min(bytes)));
    let limit = Rlimit { current: lower(before.current), maximum: lower(before.maximum) };
    setrlimit(Resource::Data, limit).map_err(CageError::Memory)
}
