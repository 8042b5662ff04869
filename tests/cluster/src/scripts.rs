//! Scripts of `tests/kube`, which start and stop servers.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use bpfman_tests::Outcome;

#[must_use]
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../kube").join(name)
}

/// Parts of Kubernetes as in `tests/kube/build`, each including the previous ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Api,
    Full,
    Node,
}

/// Returns the directory of Kubernetes' programs, or `None` with a line that counts as a skip. Panics if `BPFMAN_KUBE`
/// names a directory without them: with this variable tests must not be skipped.
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

#[must_use]
pub fn path_with(folders: &[PathBuf]) -> OsString {
    let machine = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(folders.iter().cloned().chain(std::env::split_paths(&machine))).unwrap()
}

#[must_use]
pub fn with_kubectl(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let found = Outcome::of(Command::new(script("build")).args(["api", "--only-look"]));
    if found.code == 0 {
        command.env("PATH", path_with(&[PathBuf::from(found.stdout.trim())]));
    }
    command
}

#[must_use]
pub fn obtained(name: &str) -> Option<PathBuf> {
    let outcome = Outcome::of(&mut Command::new(script(name)));
    if outcome.code != 0 {
        eprintln!("tests/kube/{name}: {}", outcome.stderr);
    }
    (outcome.code == 0).then(|| PathBuf::from(outcome.stdout.trim()))
}

pub(crate) fn skipped(reason: &str) {
    let thread = std::thread::current();
    eprintln!("SKIPPED({reason}): {}", thread.name().unwrap_or("a test"));
}

pub(crate) fn attempt(name: &str, folder: &Path) -> Outcome {
    Outcome::of(Command::new(script(name)).arg(folder))
}

pub fn run(name: &str, folder: &Path, words: &[&str]) -> String {
    let outcome = Outcome::of(Command::new(script(name)).arg(folder).args(words));
    assert_eq!(outcome.code, 0, "tests/kube/{name}: {}{}", outcome.stdout, outcome.stderr);
    outcome.stdout
}
