//! Memory limit of a process that talks to a registry.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Data limit in bytes: a blob of maximum size, its copy while the buffer grows, and the unpacked object.
const MAX_DATA: u64 = 512 << 20;

/// Limits the memory of this process: oci-client 0.18 reads a registry's error text without a limit.
pub fn limit_memory() -> io::Result<()> {
    let before = getrlimit(Resource::Data);
    let current = before.current.map_or(MAX_DATA, |current| current.min(MAX_DATA));
    Ok(setrlimit(Resource::Data, Rlimit { current: Some(current), ..before })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_limited_and_no_lower_limit_raised() {
        let before = getrlimit(Resource::Data).current.unwrap_or(u64::MAX);
        limit_memory().unwrap();
        assert_eq!(getrlimit(Resource::Data).current, Some(MAX_DATA.min(before)));
    }
}
