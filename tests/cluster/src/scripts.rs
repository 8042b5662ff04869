//! The scripts of `tests/kube`, which start and end servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use bpfman_tests::Outcome;

/// One of them.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../kube").join(name)
}

/// Whether Kubernetes is in the cache, with a line that says so if not. The test is named by its thread.
#[must_use]
pub fn lacks_kubernetes() -> bool {
    let missing = lacks("build");
    if missing {
        skipped("kube-apiserver");
    }
    missing
}

/// Whether what a script builds is not in the cache.
#[must_use]
pub(crate) fn lacks(build: &str) -> bool {
    Outcome::of(Command::new(script(build)).arg("--only-look")).code != 0
}

/// Prints the line that counts as a skip of this test.
pub(crate) fn skipped(reason: &str) {
    let thread = std::thread::current();
    eprintln!("SKIPPED({reason}): {}", thread.name().unwrap_or("a test"));
}

/// Runs a script to its end.
///
/// # Panics
/// It failed.
pub fn run(name: &str, folder: &Path, words: &[&str]) -> String {
    let outcome = Outcome::of(Command::new(script(name)).arg(folder).args(words));
    assert_eq!(outcome.code, 0, "tests/kube/{name}: {}{}", outcome.stdout, outcome.stderr);
    outcome.stdout
}
