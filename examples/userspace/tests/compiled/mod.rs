use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Returns a compiled example. Tests call this in parallel: make compiles once, and clang replaces files.
pub fn object(example: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let target = test.ancestors().nth(3).context("a test lies in target/<profile>/deps")?;
    let mut make = Command::new("make");
    make.arg("-C").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let made = make.env("CARGO_TARGET_DIR", target).output().context("cannot run make")?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok(target.join("bpf").join(example).with_extension("o"))
}
