//! Linked programs have libbpf's instructions, by the kernel's tag, which excludes map references.

use std::env::consts::ARCH;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::compile;
use anyhow::{Context, Result, ensure};
use bpfmand_object::{KernelBtf, ObjectFile, TextOptions};
use sha2::{Digest, Sha256};

/// Pins every program of `$1` in a temporary mount namespace, and prints the kernel's information.
const LOAD_AND_SHOW: &str = r#"
set -e
mount -t bpf none /sys/fs/bpf
bpftool prog loadall "$1" /sys/fs/bpf/programs
echo "["
separator=
for pin in /sys/fs/bpf/programs/*; do
    echo "$separator{\"pin\": \"${pin##*/}\", \"kernel\": $(bpftool -j prog show pinned "$pin")}"
    separator=,
done
echo "]"
"#;

/// Returns whether tags are SHA-256 (Linux 6.18 and later); before, they are SHA-1.
fn kernel_hashes_with_sha256() -> Result<bool> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (6, 18) {
        println!("skipped: program tags are SHA-256 from Linux 6.18 on, this is {}", release.trim());
    }
    Ok(version >= (6, 18))
}

fn tag(object: &ObjectFile, program: &str, kernel: &KernelBtf) -> Result<String> {
    let options = TextOptions { kernel_btf: Some(kernel), ..TextOptions::default() };
    let text = object.text(program, &options)?;
    let mut hash = Sha256::new();
    let mut second_half = false;
    for insn in &text.insns {
        let mut insn = *insn;
        if insn.is_map_reference() || second_half {
            second_half = insn.is_map_reference();
            insn.imm = 0;
        }
        hash.update(insn.to_ne_bytes());
    }
    Ok(hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

fn compare(path: &Path) -> Result<usize> {
    let object = ObjectFile::parse(std::fs::read(path)?)?;
    let kernel = KernelBtf::parse(std::fs::read("/sys/kernel/btf/vmlinux")?)?;
    let done = Command::new("unshare")
        .args(["--mount", "sh", "-c", LOAD_AND_SHOW, "sh"])
        .arg(path)
        .output()
        .context("unshare and bpftool")?;
    ensure!(done.status.success(), "{path:?}: {}", String::from_utf8_lossy(&done.stderr));
    let shown: serde_json::Value = serde_json::from_slice(&done.stdout)?;
    let shown = shown.as_array().context("no list")?;
    ensure!(shown.len() == object.programs().len(), "{path:?}: libbpf loads {} programs", shown.len());
    for program in shown {
        let name = program["pin"].as_str().context("no name")?;
        let ours = tag(&object, name, &kernel)?;
        let theirs = &program["kernel"]["tag"];
        ensure!(*theirs == ours.as_str(), "{path:?} {name}: libbpf {theirs}, ours {ours}");
    }
    Ok(shown.len())
}

/// Leaves out features that Debian's bpftool lacks.
const FOR_LIBBPF_1_1: &[&str] = &["-DFOR_LIBBPF_1_1"];

fn compare_source(name: &str, options: &[&str]) -> Result<()> {
    if kernel_hashes_with_sha256()? {
        let (_folder, path) = compile::object_path(name, options)?;
        assert!(compare(&path)? > 0);
    }
    Ok(())
}

#[test]
fn plain_programs_link_as_libbpf_links_them() -> Result<()> {
    compare_source("basic.c", FOR_LIBBPF_1_1)
}

#[test]
fn functions_and_callbacks_link_as_libbpf_links_them() -> Result<()> {
    compare_source("callbacks.c", &[])
}

#[test]
fn kernel_types_resolve_as_libbpf_resolves_them() -> Result<()> {
    compare_source("core.c", &[])
}

#[test]
fn kernel_functions_and_configuration_resolve_as_in_libbpf() -> Result<()> {
    compare_source("kernel_symbols.c", FOR_LIBBPF_1_1)
}

#[test]
fn map_declarations_link_as_libbpf_links_them() -> Result<()> {
    compare_source("maps.c", FOR_LIBBPF_1_1)
}

#[test]
fn the_objects_of_xdp_tools_link_as_libbpf_links_them() -> Result<()> {
    let folder = PathBuf::from(format!("/usr/lib/{ARCH}-linux-gnu/bpf"));
    if !folder.is_dir() {
        println!("skipped: xdp-tools is not installed ({} is missing)", folder.display());
        return Ok(());
    }
    if !kernel_hashes_with_sha256()? {
        return Ok(());
    }
    let mut compared = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        // libxdp completes these: they load only together with programs that they attach to.
        if name.starts_with("xdpdump") || name == "xdp-dispatcher.o" {
            continue;
        }
        compared += compare(&path)?;
    }
    assert!(compared >= 12, "{compared} programs compared");
    Ok(())
}
