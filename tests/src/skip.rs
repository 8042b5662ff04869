//! Tests of what the kernel may lack.

use std::path::Path;
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::{Outcome, compile};

/// True, with a line that says so, if the kernel refuses programs of a type also to another loader.
///
/// `sample` is an object in `programs/` with one program of the type.
#[must_use]
pub fn lacks(feature: &str, sample: &str, test: &str) -> bool {
    let missing = refused(sample);
    if missing {
        eprintln!("SKIPPED({feature}): {test}");
    }
    missing
}

/// True if the kernel refuses a sample to `bpftool`: so that a fault of the daemon never looks like a lack of the
/// kernel.
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

/// True, with a line that says so, if the kernel has no kernel probes. It loads their programs all the same.
#[must_use]
pub fn lacks_kprobes(test: &str) -> bool {
    let missing = !Path::new("/sys/bus/event_source/devices/kprobe").exists();
    if missing {
        eprintln!("SKIPPED(kprobe): {test}");
    }
    missing
}

/// True, with a line that says so, if the kernel is older than tcx (Linux 6.6).
#[must_use]
pub fn lacks_tcx(test: &str) -> bool {
    let missing = !has_tcx();
    if missing {
        eprintln!("SKIPPED(tcx): {test}");
    }
    missing
}

/// True if the kernel has tcx.
#[must_use]
pub fn has_tcx() -> bool {
    version() >= (6, 6)
}

/// True, with a line that says so, if the kernel is older than the version that a feature came with.
#[must_use]
pub fn is_older_than(needed: (u32, u32), feature: &str, test: &str) -> bool {
    let missing = version() < needed;
    if missing {
        eprintln!("SKIPPED({feature}): {test}");
    }
    missing
}

/// The first two numbers of the kernel's release.
fn version() -> (u32, u32) {
    let name = rustix::system::uname();
    let mut numbers =
        name.release().to_str().unwrap().split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap())
}
