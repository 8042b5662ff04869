//! Compilation of the tests' C sources.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

pub fn object(name: &'static str) -> &'static [u8] {
    static READ: Mutex<BTreeMap<&str, &[u8]>> = Mutex::new(BTreeMap::new());
    READ.lock().unwrap().entry(name).or_insert_with(|| compiled(name).leak())
}

fn compiled(name: &str) -> Vec<u8> {
    let folder = if name == "objects" { "../kernel/tests/members" } else { "tests/src" };
    let source: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(format!("{name}.c"));
    let machine = if cfg!(target_arch = "aarch64") { "-D__TARGET_ARCH_arm64" } else { "-D__TARGET_ARCH_x86" };
    let include = format!("-I/usr/include/{ARCH}-linux-gnu");
    let object = once(&source, &["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", &include, "-c", machine]);
    std::fs::read(object).unwrap()
}

pub fn once(source: &Path, words: &[&str]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (text(source), words).hash(&mut hasher);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let stem = source.file_stem().unwrap().display();
    let kept = folder.join(format!("engine-{stem}-{:016x}", hasher.finish()));
    if kept.exists() {
        return kept;
    }
    // Tests run in parallel: create the file atomically.
    let fresh = tempfile::tempdir_in(folder).unwrap();
    let out = fresh.path().join("out");
    let done = Command::new("clang")
        .args(words)
        .arg(source)
        .arg("-o")
        .arg(&out)
        .output()
        .unwrap_or_else(|error| panic!("clang, which compiles the programs under test: {error}"));
    assert!(done.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&done.stderr));
    std::fs::rename(out, &kept).unwrap();
    kept
}

fn text(source: &Path) -> String {
    let mut text = std::fs::read_to_string(source).unwrap();
    let included: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("#include \"")).collect();
    let included: String =
        included.iter().map(|name| self::text(&source.with_file_name(name.trim_end_matches('"')))).collect();
    text.push_str(&included);
    text
}
