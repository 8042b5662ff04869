//! Tests of what the kernel may lack.

use std::path::Path;
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::{Outcome, compile};

/// True, with a line that says so, if the kernel refuses programs of a type also to another loader.
///
/// `sample` is an object in `programs/` with one program of the type. Whether the kernel has a feature is asked of
/// `bpftool`, so that a fault of the daemon never looks like a lack of the kernel.
#[must_use]
pub fn lacks(feature: &str, sample: &str, test: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    mount("bpf", folder.path(), "bpf", MountFlags::empty(), None).unwrap();
    let outcome = load(&compile::object(sample), &folder.path().join("sample"));
    unmount(folder.path(), UnmountFlags::DETACH).unwrap();
    if outcome.code != 0 {
        eprintln!("SKIPPED({feature}): {test}");
    }
    outcome.code != 0
}

fn load(object: &Path, pin: &Path) -> Outcome {
    let mut command = Command::new("bpftool");
    // Attached at once, where the type can be: some kernels load a probe and refuse to attach it.
    command.args(["prog", "loadall"]).arg(object).arg(pin).arg("autoattach");
    Outcome::of(&mut command)
}
