//! Tests of features that the kernel may lack.

use std::path::Path;
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::{Outcome, compile};

/// Returns whether the kernel refuses programs of a type also from another loader, and prints the skip line. `sample`
/// is an object in `programs/` with one program of the type.
#[must_use]
pub fn lacks(feature: &str, sample: &str, test: &str) -> bool {
    let missing = refused(sample);
    if missing {
        eprintln!("SKIPPED({feature}): {test}");
    }
    missing
}

/// Returns whether the kernel refuses a sample also if `bpftool` loads it: then the kernel lacks the feature,
/// and the daemon is not at fault.
#[must_use]
pub fn refused(sample: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    mount("bpf", folder.path(), "bpf", MountFlags::empty(), None).unwrap();
    let outcome = load(&compile::object(sample), &folder.path().join("sample"));
    unmount(folder.path(), UnmountFlags::DETACH).unwrap();
    outcome.code != 0
}

fn load(object: &Path, pin: &Path) -> Outcome {
    Outcome::of(Command::new("bpftool").args(["prog", "loadall"]).arg(object).arg(pin))
}

/// Returns whether the kernel lacks kprobes, and prints the skip line. Such a kernel still loads kprobe programs.
#[must_use]
pub fn lacks_kprobes(test: &str) -> bool {
    let missing = !Path::new("/sys/bus/event_source/devices/kprobe").exists();
    if missing {
        eprintln!("SKIPPED(kprobe): {test}");
    }
    missing
}

/// Returns whether the kernel is older than tcx (Linux 6.6), and prints the skip line.
#[must_use]
pub fn lacks_tcx(test: &str) -> bool {
    let missing = !has_tcx();
    if missing {
        eprintln!("SKIPPED(tcx): {test}");
    }
    missing
}

#[must_use]
pub fn has_tcx() -> bool {
    version() >= (6, 6)
}

#[must_use]
pub fn is_older_than(needed: (u32, u32), feature: &str, test: &str) -> bool {
    let missing = version() < needed;
    if missing {
        eprintln!("SKIPPED({feature}): {test}");
    }
    missing
}

fn version() -> (u32, u32) {
    let name = rustix::system::uname();
    let mut numbers =
        name.release().to_str().unwrap().split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap())
}
