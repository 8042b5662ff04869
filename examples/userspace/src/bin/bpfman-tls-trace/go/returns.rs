#[cfg(not(target_arch = "aarch64"))]
pub fn of(code: &[u8]) -> Option<Vec<u64>> {
    use iced_x86::{Decoder, DecoderOptions, Mnemonic};

    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    let mut found = Vec::new();
    while decoder.can_decode() {
        let insn = decoder.decode();
        if insn.is_invalid() {
            return None;
        }
        if insn.mnemonic() == Mnemonic::Ret {
            found.push(insn.ip());
        }
    }
    Some(found)
}

/// Returns the offsets of returns, or `None` if the code is cut. Instructions have four bytes.
#[cfg(target_arch = "aarch64")]
pub fn of(code: &[u8]) -> Option<Vec<u64>> {
    /// `ret`: returns to the address in the link register.
    const RETURN: [u8; 4] = 0xd65f_03c0_u32.to_le_bytes();
    let places = (0..).step_by(4).zip(code.chunks(4));
    code.len()
        .is_multiple_of(4)
        .then(|| places.filter(|(_, insn)| *insn == RETURN).map(|(at, _)| at).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(not(target_arch = "aarch64"))]
    fn return_instructions_are_found_only_at_instruction_starts() {
        // push %rbp; movabs with c3 in its constant; ret; mov %esp,%ebp; ret
        let code = [0x55, 0x48, 0xb8, 0xc3, 0xc3, 0xc3, 0xc3, 0, 0, 0, 0, 0xc3, 0x89, 0xe5, 0xc3];
        assert_eq!(of(&code), Some(vec![11, 14]));
        assert_eq!(of(&code[..3]), None, "an instruction that is cut");
        assert_eq!(of(&[0x06]), None, "none in 64 bits");
    }

    #[test]
    #[cfg(target_arch = "aarch64")]
    fn returns_are_found_between_other_instructions() {
        // nop; ret; nop; ret
        let words = [0xd503_201f_u32, 0xd65f_03c0, 0xd503_201f, 0xd65f_03c0];
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(of(&code), Some(vec![4, 12]));
        assert_eq!(of(&code[..6]), None, "an instruction that is cut");
    }
}
