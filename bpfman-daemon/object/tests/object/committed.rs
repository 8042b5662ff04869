//! Compiled objects that are committed beside their sources, so that builds need no clang.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use bpfmand_object::ObjectFile;

/// Sources below the repository's root, without `.c`.
const COMMITTED: [&str; 2] =
    ["bpfman-daemon/reader/src/warm_up/sample", "bpfman-cli/src/command/kernel_reasons/kfree_skb"];

#[test]
fn committed_object_is_what_its_source_compiles_to() -> Result<()> {
    for name in COMMITTED {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
        let folder = tempfile::tempdir()?;
        let compiled = folder.path().join("object.elf");
        let done = Command::new("clang")
            .args(["-g", "-O2", "-target", "bpf", "-fdebug-compilation-dir=/", "-c"])
            .arg(kept.with_extension("c"))
            .arg("-o")
            .arg(&compiled)
            .status()?;
        ensure!(done.success(), "{name}");
        let facts = |path: &Path| -> Result<String> {
            Ok(format!("{:?}", ObjectFile::parse(std::fs::read(path)?)?.facts()))
        };
        assert_eq!(facts(&kept.with_extension("elf"))?, facts(&compiled)?, "{name}");
    }
    Ok(())
}
