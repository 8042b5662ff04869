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
    fn sample_is_read_with_its_program() {
        let object = ObjectFile::parse(SAMPLE.to_vec()).unwrap();
        assert!(object.facts().programs.iter().any(|program| program.name == PROGRAM));
        warm_up().unwrap();
    }
}
