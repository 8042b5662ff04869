use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use tempfile::TempDir;

pub struct Objects {
    folder: TempDir,
}

impl Objects {
    pub fn compile() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs");
        for name in ["trivial", "merged", "heavy", "probed", "typed", "filled"] {
            let include = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
            let status = Command::new("clang")
                .args(["-O2", "-g", "-target", "bpf", include.as_str(), "-c"])
                .arg(sources.join(format!("{name}.bpf.c")))
                .arg("-o")
                .arg(folder.path().join(format!("{name}.o")))
                .status()
                .context("cannot run clang")?;
            if !status.success() {
                bail!("clang failed on {name}.bpf.c");
            }
        }
        let probed = Command::new("clang")
            .args(["-O2", "-static"])
            .arg(sources.join("probed.c"))
            .arg("-o")
            .arg(folder.path().join("probed.exe"))
            .status()
            .context("cannot run clang")?;
        if !probed.success() {
            bail!("clang failed on probed.c");
        }
        Ok(Self { folder })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.o"))
    }

    /// Writes an object with the same programs and other bytes: it has a number behind its sections.
    pub fn another(&self, name: &str, number: u32) -> anyhow::Result<PathBuf> {
        let mut bytes = std::fs::read(self.path(name))?;
        bytes.extend_from_slice(&number.to_le_bytes());
        let path = self.folder.path().join(format!("{name}-another.o"));
        std::fs::write(&path, bytes)?;
        Ok(path)
    }
}
