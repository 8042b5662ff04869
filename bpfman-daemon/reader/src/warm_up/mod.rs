//! A sample that a process reads while it waits for an object: its first object then finds pages and caches ready.

use std::io;

use bpfmand_frames::Writing;
use bpfmand_object::{BtfFeatures, ObjectFile};

use crate::server::{add_facts, add_linked};

/// `sample.c` beside it, compiled.
const SAMPLE: &[u8] = include_bytes!("sample.elf");
const PROGRAM: &str = "sample";

/// Reads the sample, and drops the answer.
pub fn warm_up() -> io::Result<()> {
    let features = BtfFeatures { float: true, decl_tag: true, type_tag: true, enum64: true };
    let object = ObjectFile::parse(SAMPLE.to_vec()).map_err(io::Error::other)?;
    let mut dropped = io::sink();
    let mut answers = Writing::new(&mut dropped);
    add_facts(&mut answers, &object)?;
    add_linked(&mut answers, &object, features, &[PROGRAM.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_is_what_its_source_compiles_to() {
        let folder = tempfile::tempdir().unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/warm_up/sample.c");
        let compiled = folder.path().join("sample.elf");
        let done = std::process::Command::new("clang")
            .args(["-g", "-O2", "-target", "bpf", "-fdebug-compilation-dir=/", "-c", source, "-o"])
            .arg(&compiled)
            .status()
            .expect("clang");
        assert!(done.success());
        let now = ObjectFile::parse(std::fs::read(compiled).unwrap()).unwrap();
        let kept = ObjectFile::parse(SAMPLE.to_vec()).unwrap();
        assert_eq!(format!("{:?}", kept.facts()), format!("{:?}", now.facts()));
        assert!(kept.facts().programs.iter().any(|program| program.name == PROGRAM));
        warm_up().unwrap();
    }
}
