//! Findings about the machine: disk, kernel, clock.

use std::path::Path;
use std::time::{Duration, SystemTime};

use bpfman_model::Hint;
use bpfman_proto::ext::v1::HealthFinding;

use crate::examine::finding;

/// Free bytes below which there is a finding: a change takes some kilobytes, a load the size of its object file.
const MIN_BYTES: u64 = 16 << 20;
const MIN_FILES: u64 = 64;
const BACK: Duration = Duration::from_secs(60);

pub(crate) fn disk(folder: &Path) -> Option<HealthFinding> {
    let room = rustix::fs::statvfs(folder).ok()?;
    let bytes = room.f_bavail.saturating_mul(room.f_frsize);
    // File systems without a fixed number of files report 0 of 0.
    let files = (room.f_files > 0).then_some(room.f_favail);
    let what = if bytes < MIN_BYTES {
        format!("{} KiB are free", bytes / 1024)
    } else {
        format!("{} more files can be made", files.filter(|files| *files < MIN_FILES)?)
    };
    let folder = folder.display().to_string();
    let why = "changes are refused when it is full; what runs goes on";
    Some(finding("disk", &folder, what, why, &Hint::FreeSpace(folder.clone().into())))
}

pub(crate) fn kernel() -> Vec<HealthFinding> {
    let mut found = Vec::new();
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        found.push(finding(
            "kernel",
            "BTF",
            "the kernel has no types of its own (CONFIG_DEBUG_INFO_BTF)".to_owned(),
            "fentry, fexit, LSM, and programs that adapt to the kernel cannot be loaded",
            &Hint::KernelTypes,
        ));
    }
    let compiler = std::fs::read_to_string("/proc/sys/net/core/bpf_jit_enable");
    if compiler.is_ok_and(|value| value.trim() == "0") {
        found.push(finding(
            "kernel",
            "JIT",
            "the kernel's compiler for eBPF is switched off".to_owned(),
            "programs are interpreted, which takes many times as long",
            &Hint::EnableJit,
        ));
    }
    found
}

pub(crate) fn clock(last: &str) -> Option<HealthFinding> {
    let last_time = humantime::parse_rfc3339(last).ok()?;
    (last_time > SystemTime::now() + BACK).then(|| {
        finding(
            "clock",
            "clock",
            format!("the last change was made at {last}, which has not come yet"),
            "the clock was set back: times of the history, and of signatures, are wrong",
            &Hint::ShowClock,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_is_found() {
        assert!(clock("2999-01-01T00:00:00.000000Z").is_some_and(|found| found.class == "clock"));
        assert_eq!(clock("2020-01-01T00:00:00.000000Z"), None);
        assert_eq!(clock("never"), None);
    }
}
