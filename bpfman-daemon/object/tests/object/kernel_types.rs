//! Looking up the running kernel's types by name.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use bpfmand_object::{KernelBtf, ObjectError};

/// Ids as bpftool prints them: `[76255] FUNC 'vfs_unlink' …`.
fn ids_by_bpftool() -> Result<String> {
    let done = Command::new("bpftool").args(["btf", "dump", "file", "/sys/kernel/btf/vmlinux"]).output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

#[test]
fn functions_hooks_structures_and_variables_have_the_ids_that_bpftool_prints() -> Result<()> {
    let kernel = KernelBtf::parse(std::fs::read("/sys/kernel/btf/vmlinux")?)?;
    let dump = ids_by_bpftool()?;
    let printed = |kind: &str, name: &str| -> Result<u32> {
        let what = format!("] {kind} '{name}' ");
        let line =
            dump.lines().find(|line| line.contains(&what)).with_context(|| format!("{kind} {name}"))?;
        let number = line.trim_start_matches('[').split(']').next().context("no id")?;
        Ok(number.parse()?)
    };
    assert_eq!(kernel.function_id("vfs_unlink"), Some(printed("FUNC", "vfs_unlink")?));
    assert_eq!(kernel.struct_id("task_struct"), Some(printed("STRUCT", "task_struct")?));
    assert_eq!(kernel.variable_id("bpf_prog_active"), printed("VAR", "bpf_prog_active").ok());
    assert_eq!(kernel.lsm_hook_id("file_open"), printed("FUNC", "bpf_lsm_file_open").ok());
    assert_eq!(kernel.function_id("no_such_function_anywhere"), None);
    assert_eq!(kernel.function_id("task_struct"), None, "a structure is no function");
    assert_eq!(kernel.function_id(""), None);
    Ok(())
}

#[test]
fn what_is_no_type_information_is_refused() {
    for bytes in [&b""[..], b"\x9f\xeb", &[0; 64]] {
        assert!(matches!(KernelBtf::parse(bytes), Err(ObjectError::Btf { .. })));
    }
}
