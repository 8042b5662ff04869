//! The scripts of `tests/kube`, which start and end servers.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use bpfman_tests::Outcome;

/// One of them.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../kube").join(name)
}

/// The parts of a Kubernetes, each with those before it, as `tests/kube/build` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// API server, etcd, kubectl.
    Api,
    /// Controllers and scheduler.
    Full,
    /// Programs of a node.
    Node,
}

/// Returns the folder of Kubernetes' programs; none, with a line that counts as a skip, where they were not built. The
/// test is named by its thread.
///
/// # Panics
/// `BPFMAN_KUBE` names a folder without them: its tests are not to be skipped.
#[must_use]
pub fn kubernetes(stage: Stage) -> Option<PathBuf> {
    let word = match stage {
        Stage::Api => "api",
        Stage::Full => "full",
        Stage::Node => "node",
    };
    let found = Outcome::of(Command::new(script("build")).args([word, "--only-look"]));
    if found.code == 0 {
        return Some(PathBuf::from(found.stdout.trim()));
    }
    assert!(std::env::var_os("BPFMAN_KUBE").is_none(), "{}", found.stderr);
    skipped("kube-apiserver");
    None
}

/// Returns the value of PATH with these folders before the machine's.
#[must_use]
pub fn path_with(folders: &[PathBuf]) -> OsString {
    let machine = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(folders.iter().cloned().chain(std::env::split_paths(&machine))).unwrap()
}

/// Returns a command that finds kubectl of the Kubernetes that was built, without a cluster.
#[must_use]
pub fn with_kubectl(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let found = Outcome::of(Command::new(script("build")).args(["api", "--only-look"]));
    if found.code == 0 {
        command.env("PATH", path_with(&[PathBuf::from(found.stdout.trim())]));
    }
    command
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

/// Runs a script to its end, which may be a failure.
pub(crate) fn attempt(name: &str, folder: &Path) -> Outcome {
    Outcome::of(Command::new(script(name)).arg(folder))
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
