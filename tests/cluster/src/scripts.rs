//! The scripts of `tests/kube`, which start and end servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use bpfman_tests::Outcome;

/// One of them.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../kube").join(name)
}

/// Whether Kubernetes is not in the cache, with a line that says so. The test is named by its thread.
///
/// # Panics
/// `BPFMAN_KUBE` names one that is not there: its tests are not to be skipped.
#[must_use]
pub fn lacks_kubernetes() -> bool {
    let missing = built("build").is_none();
    if missing {
        let asked = std::env::var_os("BPFMAN_KUBE");
        assert!(asked.is_none(), "no Kubernetes in BPFMAN_KUBE={}", asked.unwrap_or_default().display());
        skipped("kube-apiserver");
    }
    missing
}

/// Where what a script builds is, if it is in the cache.
#[must_use]
pub fn built(build: &str) -> Option<PathBuf> {
    let found = Outcome::of(Command::new(script(build)).arg("--only-look"));
    (found.code == 0).then(|| PathBuf::from(found.stdout.trim()))
}

/// What a script gets and prints the path of, if it can.
#[must_use]
pub fn obtained(name: &str) -> Option<PathBuf> {
    let outcome = Outcome::of(&mut Command::new(script(name)));
    if outcome.code != 0 {
        eprintln!("tests/kube/{name}: {}", outcome.stderr);
    }
    (outcome.code == 0).then(|| PathBuf::from(outcome.stdout.trim()))
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
