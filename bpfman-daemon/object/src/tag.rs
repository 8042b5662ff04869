//! Program tags, computed like the kernel's.

use bpfman_model::{BoundText, Insn, op};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Returns both possible tags: SHA-256 (Linux 6.18) and SHA-1 over the instructions without map references.
#[must_use]
pub fn kernel_tags(text: &BoundText) -> [[u8; 8]; 2] {
    let mut insns = text.0.insns.clone();
    // In a loaded program, a jump table is a map.
    for load in text.0.jump_tables.iter().flat_map(|table| &table.loads) {
        if let Some(insn) = insns.get_mut(*load) {
            *insn = Insn::new(insn.code, insn.dst(), op::PSEUDO_MAP_VALUE, 0, 0);
        }
    }
    let bytes = without_maps(&insns);
    [first_eight(&Sha256::digest(&bytes)), first_eight(&Sha1::digest(&bytes))]
}

/// Zeroes both immediates of map references, like `bpf_prog_calc_tag`.
fn without_maps(insns: &[Insn]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(insns.len() * 8);
    let mut is_second_half = false;
    for insn in insns {
        let is_reference = !is_second_half && insn.is_map_reference();
        let imm = if is_reference || is_second_half { 0 } else { insn.imm };
        bytes.extend(Insn { imm, ..*insn }.to_ne_bytes());
        is_second_half = is_reference;
    }
    bytes
}

fn first_eight(hash: &[u8]) -> [u8; 8] {
    hash.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_does_not_depend_on_the_maps() {
        let with = |map: i32, constant: i32| {
            without_maps(&[
                Insn::new(op::LD_IMM64, 1, op::PSEUDO_MAP_VALUE, 0, map),
                Insn::new(0, 0, 0, 0, map),
                Insn::new(op::LD_IMM64, 1, 0, 0, constant),
                Insn::new(0, 0, 0, 0, constant),
                Insn::new(op::EXIT, 0, 0, 0, 0),
            ])
        };
        assert_eq!(with(1, 5), with(2, 5));
        assert_ne!(with(1, 5), with(1, 6));
    }
}
