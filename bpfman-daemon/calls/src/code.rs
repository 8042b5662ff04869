//! Descriptors within the instructions of a program.

use crate::Errno;

const WIDE_LOAD: u8 = 0x18;
const CALL: u8 = 0x85;
const INSTRUCTION: usize = 8;

/// Descriptor that an instruction names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeReference {
    /// By its number, at this offset in bytes.
    Number(usize),
    /// By its index in the array of descriptors.
    Index(usize),
}

/// Returns the descriptors that instructions name.
///
/// # Errors
/// `EINVAL`: an instruction of a later kernel may name a descriptor in a way that is not understood.
pub fn references(code: &[u8]) -> Result<Vec<CodeReference>, Errno> {
    let mut found = Vec::new();
    let mut instructions = code.chunks_exact(INSTRUCTION).enumerate();
    let immediate = |at: usize| at * INSTRUCTION + 4;
    let word = |instruction: &[u8]| {
        i32::from_ne_bytes([instruction[4], instruction[5], instruction[6], instruction[7]])
    };
    let index = |value: i32| usize::try_from(value).map(CodeReference::Index).map_err(|_| Errno::INVAL);
    while let Some((at, instruction)) = instructions.next() {
        let source = source(instruction);
        match instruction[0] {
            WIDE_LOAD => {
                let second = instructions.next();
                // The kernel looks for calls in second halves, too.
                if second.is_some_and(|(_, second)| second[..4] != [0; 4]) {
                    return Err(Errno::INVAL);
                }
                match source {
                    // A number, and the address of a function of the program.
                    0 | 4 => {}
                    // A map, and the value of a map.
                    1 | 2 => found.push(CodeReference::Number(immediate(at))),
                    // A variable of the kernel (0), or of a module.
                    3 => {
                        if let Some((next, second)) = second
                            && word(second) != 0
                        {
                            found.push(CodeReference::Number(immediate(next)));
                        }
                    }
                    5 | 6 => found.push(index(word(instruction))?),
                    _ => return Err(Errno::INVAL),
                }
            }
            CALL => match source {
                0 | 1 => {}
                // A function of the kernel (0), or of a module.
                2 => {
                    let offset = i16::from_ne_bytes([instruction[2], instruction[3]]);
                    if offset != 0 {
                        found.push(index(offset.into())?);
                    }
                }
                _ => return Err(Errno::INVAL),
            },
            _ => {}
        }
    }
    Ok(found)
}

/// Function of the kernel that a program calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelCall {
    Helper(u32),
    /// Another function, by its number in the kernel's types, which differs by kernel.
    Function(u32),
}

/// Returns the functions of the kernel that instructions call.
pub fn kernel_calls(code: &[u8]) -> impl Iterator<Item = KernelCall> {
    code.chunks_exact(INSTRUCTION).filter(|instruction| instruction[0] == CALL).filter_map(|instruction| {
        let number = u32::from_ne_bytes([instruction[4], instruction[5], instruction[6], instruction[7]]);
        match source(instruction) {
            0 => Some(KernelCall::Helper(number)),
            2 => Some(KernelCall::Function(number)),
            _ => None,
        }
    })
}

/// Returns the length of the descriptor array whose entries instructions name by index. `counted` is the call's own count.
///
/// # Errors
/// `E2BIG`: more than any program has.
pub fn descriptor_count(used: &[CodeReference], counted: u32) -> Result<usize, Errno> {
    const MAX_DESCRIPTORS: usize = 1024;
    let named = used.iter().filter_map(|reference| match reference {
        CodeReference::Index(index) => Some(index + 1),
        CodeReference::Number(_) => None,
    });
    let count = named.max().unwrap_or_default().max(counted as usize);
    if count > MAX_DESCRIPTORS { Err(Errno::TOO_BIG) } else { Ok(count) }
}

#[cfg(target_endian = "little")]
const fn source(instruction: &[u8]) -> u8 {
    instruction[1] >> 4
}
#[cfg(target_endian = "big")]
const fn source(instruction: &[u8]) -> u8 {
    instruction[1] & 0xf
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instruction(code: u8, source: u8, offset: i16, immediate: i32) -> Vec<u8> {
        let mut bytes = vec![code, source << 4];
        bytes.extend(offset.to_ne_bytes());
        bytes.extend(immediate.to_ne_bytes());
        bytes
    }

    #[test]
    fn descriptors_are_found_wherever_instructions_hold_them() {
        let program = |instructions: &[(u8, u8, i16, i32)]| -> Vec<u8> {
            instructions
                .iter()
                .flat_map(|(code, source, offset, immediate)| {
                    instruction(*code, *source, *offset, *immediate)
                })
                .collect()
        };
        let wide = |source, first, second| program(&[(WIDE_LOAD, source, 0, first), (0, 0, 0, second)]);
        let (number, index) = (CodeReference::Number, CodeReference::Index);
        for (code, expected) in [
            (wide(0, 7, 7), vec![]),
            (wide(1, 7, 0), vec![number(4)]),
            (wide(2, 7, 9), vec![number(4)]),
            (wide(3, 7, 0), vec![]),
            (wide(3, 7, 8), vec![number(12)]),
            (wide(5, 2, 0), vec![index(2)]),
            (program(&[(CALL, 2, 0, 9)]), vec![]),
            (program(&[(CALL, 2, 3, 9)]), vec![index(3)]),
            (program(&[(CALL, 1, 3, 9), (0x95, 0, 0, 0)]), vec![]),
        ] {
            assert_eq!(references(&code), Ok(expected), "{code:?}");
        }
        for unknown in
            [wide(7, 1, 1), wide(5, -1, 0), program(&[(CALL, 3, 0, 0)]), program(&[(CALL, 2, -1, 0)])]
        {
            assert_eq!(references(&unknown), Err(Errno::INVAL), "{unknown:?}");
        }
        let hidden = program(&[(WIDE_LOAD, 0, 0, 1), (CALL, 2, 9, 1)]);
        assert_eq!(references(&hidden), Err(Errno::INVAL));
    }
}
