//! Versions of the program that the fleet runs. All have the same functions, and differ in a constant.

use std::path::{Path, PathBuf};

use bpfman_tests::command::run;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Version(pub u8);

pub const ALL: [Version; 7] =
    [Version(1), Version(2), Version(3), Version(4), Version(5), Version(6), Version(7)];

impl Version {
    #[must_use]
    pub fn constant(self) -> i32 {
        0x0b9f_3a00 + i32::from(self.0)
    }

    #[must_use]
    pub fn file_name(self) -> String {
        format!("version-{}.o", self.0)
    }

    #[must_use]
    pub fn path(self, folder: &Path) -> PathBuf {
        folder.join(self.file_name())
    }

    pub fn compile(self, folder: &Path) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/version.bpf.c");
        let include = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
        let define = format!("-DVERSION={}", self.constant());
        let (source, out) = (source.display().to_string(), self.path(folder).display().to_string());
        run(&[
            "clang", "-target", "bpf", "-O2", "-g", "-Wall", "-Werror", &include, &define, "-c", &source,
            "-o", &out,
        ]);
    }
}
