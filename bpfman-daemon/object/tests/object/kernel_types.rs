use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bpfmand_object::{KernelBtf, ObjectError, SharedBytes};

/// bpftool prints `[76255] FUNC 'vfs_unlink' …`.
fn ids_by_bpftool() -> Result<String> {
    let done = Command::new("bpftool").args(["btf", "dump", "file", "/sys/kernel/btf/vmlinux"]).output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

#[test]
fn functions_hooks_structs_and_variables_have_bpftools_ids() -> Result<()> {
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
fn invalid_btf_is_refused() {
    for bytes in [&b""[..], b"\x9f\xeb", &[0; 64]] {
        assert!(matches!(KernelBtf::parse(bytes), Err(ObjectError::Btf { .. })));
    }
}

#[test]
fn shared_index_answers_as_the_parsed_types_do() -> Result<()> {
    let parsed = KernelBtf::parse(std::fs::read("/sys/kernel/btf/vmlinux")?)?;
    let mut bytes = Vec::new();
    parsed.write_index(&mut bytes)?;
    let shared = |bytes: &[u8]| -> SharedBytes { Arc::new(bytes.to_vec()) };
    let index = KernelBtf::from_index(&shared(&bytes))?;
    for name in ["vfs_unlink", "bpf_lsm_file_open", "task_struct", "no_such_function_anywhere", ""] {
        assert_eq!(index.function_id(name), parsed.function_id(name), "{name}");
        assert_eq!(index.struct_id(name), parsed.struct_id(name), "{name}");
    }
    assert_eq!(index.member_offset("task_struct", "pid"), parsed.member_offset("task_struct", "pid"));
    assert_eq!(index.enumerators("bpf_map_type"), parsed.enumerators("bpf_map_type"));
    assert_eq!(index.offered_functions(), parsed.offered_functions());
    let mut again = Vec::new();
    index.write_index(&mut again)?;
    assert!(again == bytes);
    for end in [0, 3, 20, 100, bytes.len() / 2, bytes.len() - 1] {
        let cut = KernelBtf::from_index(&shared(&bytes[..end]));
        assert!(matches!(cut, Err(ObjectError::Btf { .. })), "{end}");
    }
    Ok(())
}
