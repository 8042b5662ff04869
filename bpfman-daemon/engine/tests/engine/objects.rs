//! Compiles the C sources beside the tests, as their authors would.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The object file of `tests/src/NAME.c`, read once a process.
pub fn object(name: &'static str) -> &'static [u8] {
    static READ: Mutex<BTreeMap<&str, &[u8]>> = Mutex::new(BTreeMap::new());
    READ.lock().unwrap().entry(name).or_insert_with(|| compiled(name).leak())
}

/// Compiled once for each version of its source: each test is a process, and on an emulated machine the compiler takes
/// longer than most tests.
fn compiled(name: &str) -> Vec<u8> {
    // One of the programs that the kernel crate holds chains to is of use here too.
    let folder = if name == "objects" { "../kernel/tests/members" } else { "tests/src" };
    let source: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(format!("{name}.c"));
    let mut hasher = DefaultHasher::new();
    (text(&source), include_str!("objects.rs")).hash(&mut hasher);
    let kept =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("engine-{name}-{:016x}.o", hasher.finish()));
    if let Ok(object) = std::fs::read(&kept) {
        return object;
    }
    let object = compile(&source);
    // Tests run side by side: the file is there whole, or not at all.
    let fresh = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(fresh.path(), &object).unwrap();
    fresh.persist(&kept).unwrap();
    object
}

/// A source, and those beside it that it includes.
fn text(source: &Path) -> String {
    let mut text = std::fs::read_to_string(source).unwrap();
    let included: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("#include \"")).collect();
    let included: String =
        included.iter().map(|name| self::text(&source.with_file_name(name.trim_end_matches('"')))).collect();
    text.push_str(&included);
    text
}

fn compile(source: &Path) -> Vec<u8> {
    // Registers have other names on each.
    let machine = if cfg!(target_arch = "aarch64") { "-D__TARGET_ARCH_arm64" } else { "-D__TARGET_ARCH_x86" };
    let done = Command::new("clang")
        .args([
            "-O2",
            "-g",
            "-Wall",
            "-Werror",
            "-target",
            "bpf",
            &format!("-I/usr/include/{ARCH}-linux-gnu"),
            "-c",
        ])
        .args([machine.as_ref(), source.as_os_str()])
        .args(["-o", "-"])
        .output()
        .unwrap_or_else(|error| panic!("clang, which compiles the programs under test: {error}"));
    assert!(done.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&done.stderr));
    done.stdout
}
