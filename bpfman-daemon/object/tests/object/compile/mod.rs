#![allow(dead_code, reason = "each test binary uses its part")]

use std::env::consts::ARCH;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bpfmand_object::ObjectFile;

pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/src").join(name)
}

/// Compiles a source. The folder is removed with the result.
pub fn object_path(name: &str, options: &[&str]) -> Result<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("object.o");
    let done = Command::new("clang")
        .args([
            "-O2",
            "-g",
            "-Wall",
            "-Werror",
            "-target",
            "bpf",
            &format!("-I/usr/include/{ARCH}-linux-gnu"),
        ])
        .args(options)
        .arg("-c")
        .arg(source(name))
        .arg("-o")
        .arg(&out)
        .output()
        .context("clang, which compiles the programs under test")?;
    ensure!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
    Ok((folder, out))
}

pub fn bytes(name: &str) -> Result<Vec<u8>> {
    let (_folder, path) = object_path(name, &[])?;
    Ok(std::fs::read(path)?)
}

pub fn object(name: &str) -> Result<ObjectFile> {
    Ok(ObjectFile::parse(bytes(name)?)?)
}
