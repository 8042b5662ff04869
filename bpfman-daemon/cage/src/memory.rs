use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::CageError;

/// Default limit, in bytes: about a hundred times the daemon's use, with stacks of 3,000 threads (network namespaces).
pub const DEFAULT_MEMORY: u64 = 4 << 30;

/// Limits heap and stacks of this process (`RLIMIT_DATA`; 0: no limit); beyond it, the process ends. A cgroup limit
/// would also count the maps of all programs. A lower existing limit stays.
pub fn limit_memory(bytes: u64) -> Result<(), CageError> {
    if bytes == 0 {
        return Ok(());
    }
    let before = getrlimit(Resource::Data);
    let lower = |limit: Option<u64>| Some(limit.map_or(bytes, |limit| limit.min(bytes)));
    let limit = Rlimit { current: lower(before.current), maximum: lower(before.maximum) };
    setrlimit(Resource::Data, limit).map_err(CageError::Memory)
}
