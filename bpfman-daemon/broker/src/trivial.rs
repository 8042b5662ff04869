//! Programs without effect, which libraries load to detect features of the kernel.

use bpfmand_calls::FieldValue;

const INSTRUCTION: usize = 8;
const WIDE_LOAD: u8 = 0x18;
const EXIT: u8 = 0x95;
/// Moves of a constant, and stores of a constant of eight, four, two bytes and one byte.
const CONSTANTS: [u8; 6] = [0xb7, 0xb4, 0x7a, 0x62, 0x6a, 0x72];
/// Upper bound of a trivial program; libraries use fewer.
const MAX_INSTRUCTIONS: usize = 16;

/// Returns whether a program only stores constants and returns one: it reads nothing, calls nothing and does not branch.
/// Attaching it needs a separate call.
pub fn is_trivial(fields: &[FieldValue], buffers: &[Vec<u8>]) -> bool {
    let Some(FieldValue::Buffer(at)) = fields.first() else { return false };
    let Some(code) = buffers.get(*at).filter(|code| code.len() <= MAX_INSTRUCTIONS * INSTRUCTION) else {
        return false;
    };
    let mut instructions = code.chunks_exact(INSTRUCTION);
    while let Some(instruction) = instructions.next() {
        let (code, source) = (instruction[0], instruction[1] >> 4);
        let is_harmless = match code {
            // A number, a map, or the value of a map. The second half is data.
            WIDE_LOAD => source <= 2 && instructions.next().is_some(),
            EXIT => true,
            code => CONSTANTS.contains(&code) && source == 0,
        };
        if !is_harmless {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(instructions: &[[u8; 8]]) -> bool {
        is_trivial(&[FieldValue::Buffer(0)], &[instructions.concat()])
    }

    const RETURN: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 1, 0, 0, 0], [EXIT, 0, 0, 0, 0, 0, 0, 0]];

    #[test]
    fn only_constants_are_harmless() {
        assert!(judged(&RETURN));
        let wide = [[WIDE_LOAD, 0x21, 0, 0, 0, 0, 0, 0], [0; 8], [0x7a, 1, 0, 0, 42, 0, 0, 0]];
        assert!(judged(&[&wide[..], &RETURN].concat()));
        for first in [
            // A load from the context, a copy of a register, a store of one, a call, a jump, an address of a function.
            [0x61, 0x10, 0, 0, 0, 0, 0, 0],
            [0xbf, 0x10, 0, 0, 0, 0, 0, 0],
            [0x7b, 0x1a, 0xf8, 0xff, 0, 0, 0, 0],
            [0x85, 0, 0, 0, 1, 0, 0, 0],
            [0x05, 0, 0xff, 0xff, 0, 0, 0, 0],
            [WIDE_LOAD, 0x41, 0, 0, 1, 0, 0, 0],
        ] {
            assert!(!judged(&[&[first][..], &RETURN].concat()), "{first:?}");
        }
        assert!(!judged(&[RETURN[0]; 17]) && !is_trivial(&[], &[]));
    }
}
