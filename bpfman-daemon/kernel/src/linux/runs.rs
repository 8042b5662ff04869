use std::io;
use std::os::fd::OwnedFd;

use bpfman_model::RunCounts;

use super::attr::{Command, EnableStats, ProgInfo};
use super::sys;

/// `BPF_STATS_RUN_TIME`, the only type.
const RUN_TIME: u32 = 0;

/// Measures all programs until the descriptor is closed, or this process ends.
pub fn count() -> io::Result<OwnedFd> {
    sys::bpf_fd(Command::EnableStats, &mut EnableStats { stats_type: RUN_TIME })
}

pub fn of(program: &OwnedFd) -> io::Result<RunCounts> {
    let mut info = ProgInfo::default();
    sys::info(program, &mut info)?;
    Ok(RunCounts { runs: info.run_cnt, nanoseconds: info.run_time_ns, missed: info.recursion_misses })
}
