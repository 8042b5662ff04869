//! Compiles the C sources beside the tests, as their authors would.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The object file of `tests/src/NAME.c`, compiled once a process.
pub fn object(name: &'static str) -> &'static [u8] {
    static PROGRAMS: OnceLock<Vec<u8>> = OnceLock::new();
    static SHARING: OnceLock<Vec<u8>> = OnceLock::new();
    static REFUSED: OnceLock<Vec<u8>> = OnceLock::new();
    static SECOND: OnceLock<Vec<u8>> = OnceLock::new();
    static GROWN: OnceLock<Vec<u8>> = OnceLock::new();
    static RESHAPED: OnceLock<Vec<u8>> = OnceLock::new();
    static OBJECTS: OnceLock<Vec<u8>> = OnceLock::new();
    static TIMED: OnceLock<Vec<u8>> = OnceLock::new();
    static ALLOCATES: OnceLock<Vec<u8>> = OnceLock::new();
    let cell = match name {
        "programs" => &PROGRAMS,
        "sharing" => &SHARING,
        "second" => &SECOND,
        "grown" => &GROWN,
        "reshaped" => &RESHAPED,
        "objects" => &OBJECTS,
        "timed" => &TIMED,
        "allocates" => &ALLOCATES,
        _ => &REFUSED,
    };
    cell.get_or_init(|| compile(name))
}

fn compile(name: &str) -> Vec<u8> {
    // One of the programs that the kernel room holds chains to is of use here too.
    let folder = if name == "objects" { "../kernel/tests/members" } else { "tests/src" };
    let source: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(format!("{name}.c"));
    let done = Command::new("clang")
        .args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-I/usr/include/x86_64-linux-gnu", "-c"])
        .arg(&source)
        .args(["-o", "-"])
        .output()
        .unwrap_or_else(|error| panic!("clang, which compiles the programs under test: {error}"));
    assert!(done.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&done.stderr));
    done.stdout
}
