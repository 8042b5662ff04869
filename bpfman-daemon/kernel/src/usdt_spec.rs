//! USDT arguments in the format of libbpf's `usdt.bpf.h`, from assembler syntax: `-4@%edi 8@-16(%rbp) 4@$7` (x86-64),
//! `8@x0 -4@[sp, 12] 4@7` (64-bit ARM): size in bytes, negative if signed, and place.

use thiserror::Error;

/// Limit of `usdt.bpf.h`.
const MAX_ARGUMENTS: usize = 12;

/// Layout of `struct __bpf_usdt_spec`, by the header version of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpecLayout {
    Narrow,
    /// With a second register (libbpf 1.7).
    Wide,
}

impl SpecLayout {
    pub(crate) const ALL: [Self; 2] = [Self::Narrow, Self::Wide];

    pub(crate) const fn bytes(self) -> usize {
        self.argument_bytes() * MAX_ARGUMENTS + 16
    }

    const fn argument_bytes(self) -> usize {
        match self {
            Self::Narrow => 16,
            Self::Wide => 24,
        }
    }

    /// Returns the offset of the register in an argument. Sign and shift follow it.
    const fn register_at(self) -> usize {
        match self {
            Self::Narrow => 12,
            Self::Wide => 14,
        }
    }

    /// Returns the offset of the number of arguments, which follows arguments and cookie.
    const fn count_at(self) -> usize {
        self.bytes() - 8
    }

    /// Returns the offset of a padding byte that no program reads. It is set in used entries of the map.
    const fn taken_at(self) -> usize {
        self.bytes() - 1
    }
}

/// Argument that cannot be described to programs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadUsdtArgument {
    #[error(
        "its argument \"{0}\" is neither a number, nor in a register of this machine, nor in memory beside one"
    )]
    Unknown(String),
    #[error("it has more than {MAX_ARGUMENTS} arguments")]
    TooMany,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    Constant(i64),
    /// Offset in `struct pt_regs`, in bytes.
    Register(i16),
    /// Register with the address, and distance in bytes.
    Memory(i16, i64),
}

pub(crate) fn spec(layout: SpecLayout, arguments: &str) -> Result<Vec<u8>, BadUsdtArgument> {
    let mut spec = vec![0; layout.bytes()];
    let mut count: u16 = 0;
    for argument in split(arguments) {
        let unknown = || BadUsdtArgument::Unknown(argument.to_owned());
        if usize::from(count) == MAX_ARGUMENTS {
            return Err(BadUsdtArgument::TooMany);
        }
        let (size, operand) = argument.split_once('@').ok_or_else(unknown)?;
        let size: i8 = size.parse().map_err(|_| unknown())?;
        let shift: u8 = match size.unsigned_abs() {
            1 => 56,
            2 => 48,
            4 => 32,
            8 => 0,
            _ => return Err(unknown()),
        };
        let (value, kind, register) = match operand_of(operand.trim()).ok_or_else(unknown)? {
            Operand::Constant(value) => (value, 0, 0),
            Operand::Register(register) => (0, 1, register),
            Operand::Memory(register, offset) => (offset, 2, register),
        };
        let at = usize::from(count) * layout.argument_bytes();
        let register_at = at + layout.register_at();
        spec[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        spec[at + 8] = kind;
        spec[register_at..register_at + 2].copy_from_slice(&register.to_ne_bytes());
        spec[register_at + 2] = u8::from(size < 0);
        spec[register_at + 3] = shift;
        count += 1;
    }
    spec[layout.count_at()..][..2].copy_from_slice(&count.to_ne_bytes());
    spec[layout.taken_at()] = 1;
    Ok(spec)
}

/// Splits a list of arguments at the spaces outside of brackets.
fn split(arguments: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut is_inside) = (0, false);
    for (at, letter) in arguments.char_indices() {
        match letter {
            '[' => is_inside = true,
            ']' => is_inside = false,
            ' ' if !is_inside => {
                pieces.push(&arguments[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    pieces.push(&arguments[start..]);
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

fn number(text: &str) -> Option<i64> {
    let (is_negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (digits, radix) = digits.strip_prefix("0x").map_or((digits, 10), |digits| (digits, 16));
    let value = digits.starts_with(|digit: char| digit.is_digit(radix)).then_some(digits)?;
    let value = i64::from_str_radix(value, radix).ok()?;
    if is_negative { value.checked_neg() } else { Some(value) }
}

#[cfg(target_arch = "x86_64")]
fn operand_of(text: &str) -> Option<Operand> {
    if let Some(value) = text.strip_prefix('$') {
        return number(value).map(Operand::Constant);
    }
    if let Some(name) = text.strip_prefix('%') {
        return register(name).map(Operand::Register);
    }
    let (offset, base) = text.strip_suffix(')')?.split_once("(%")?;
    let offset = if offset.is_empty() { 0 } else { number(offset)? };
    Some(Operand::Memory(register(base)?, offset))
}

#[cfg(target_arch = "x86_64")]
fn register(name: &str) -> Option<i16> {
    /// Names of registers with 64, 32, 16 and 8 bits, in the order of `struct pt_regs`.
    const REGISTERS: [[&str; 4]; 15] = [
        ["r15", "r15d", "r15w", "r15b"],
        ["r14", "r14d", "r14w", "r14b"],
        ["r13", "r13d", "r13w", "r13b"],
        ["r12", "r12d", "r12w", "r12b"],
        ["rbp", "ebp", "bp", "bpl"],
        ["rbx", "ebx", "bx", "bl"],
        ["r11", "r11d", "r11w", "r11b"],
        ["r10", "r10d", "r10w", "r10b"],
        ["r9", "r9d", "r9w", "r9b"],
        ["r8", "r8d", "r8w", "r8b"],
        ["rax", "eax", "ax", "al"],
        ["rcx", "ecx", "cx", "cl"],
        ["rdx", "edx", "dx", "dl"],
        ["rsi", "esi", "si", "sil"],
        ["rdi", "edi", "di", "dil"],
    ];
    /// Offset in `struct pt_regs`, after `orig_ax`, `ip`, `cs` and `flags`.
    const STACK_POINTER: i16 = 152;
    const INSTRUCTION_POINTER: i16 = 128;
    match name {
        "rsp" | "esp" | "sp" => return Some(STACK_POINTER),
        "rip" => return Some(INSTRUCTION_POINTER),
        _ => {}
    }
    let at = REGISTERS.iter().position(|names| names.contains(&name))?;
    i16::try_from(at * 8).ok()
}

#[cfg(target_arch = "aarch64")]
fn operand_of(text: &str) -> Option<Operand> {
    if let Some(inside) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let (base, offset) = inside.split_once(',').unwrap_or((inside, "0"));
        let offset = offset.trim();
        return Some(Operand::Memory(
            register(base.trim())?,
            number(offset.strip_prefix('#').unwrap_or(offset))?,
        ));
    }
    register(text).map(Operand::Register).or_else(|| number(text).map(Operand::Constant))
}

#[cfg(target_arch = "aarch64")]
fn register(name: &str) -> Option<i16> {
    const STACK_POINTER: i16 = 31;
    let at = match name {
        "sp" => STACK_POINTER,
        _ => name.strip_prefix(['x', 'w'])?.parse().ok().filter(|at| (0..31).contains(at))?,
    };
    Some(at * 8)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn operand_of(_: &str) -> Option<Operand> {
    None
}

#[cfg(test)]
mod tests {
    use super::SpecLayout::{Narrow, Wide};
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn arguments_are_where_the_note_says() {
        use Operand::{Constant, Memory, Register};
        for (text, operand) in [
            ("%rdi", Some(Register(112))),
            ("%eax", Some(Register(80))),
            ("%r15b", Some(Register(0))),
            ("%rsp", Some(Register(152))),
            ("$-9", Some(Constant(-9))),
            ("$0x10", Some(Constant(16))),
            ("-16(%rbp)", Some(Memory(32, -16))),
            ("(%rbx)", Some(Memory(40, 0))),
            ("8(%rbx,%rcx,4)", None),
            ("name(%rip)", None),
            ("%xmm0", None),
            ("%", None),
            ("$", None),
            ("", None),
            ("--1(%rbp)", None),
            ("(%rbp", None),
        ] {
            assert_eq!(operand_of(text), operand, "{text}");
        }
    }

    #[test]
    #[cfg(target_arch = "aarch64")]
    fn arguments_are_where_the_note_says() {
        use Operand::{Constant, Memory, Register};
        for (text, operand) in [
            ("x0", Some(Register(0))),
            ("w3", Some(Register(24))),
            ("x30", Some(Register(240))),
            ("sp", Some(Register(248))),
            ("-9", Some(Constant(-9))),
            ("0x10", Some(Constant(16))),
            ("[sp]", Some(Memory(248, 0))),
            ("[sp, 12]", Some(Memory(248, 12))),
            ("[x29,#-16]", Some(Memory(232, -16))),
            ("[x0, x1]", None),
            ("x31", None),
            ("d0", None),
            ("[sp", None),
            ("", None),
        ] {
            assert_eq!(operand_of(text), operand, "{text}");
        }
    }

    #[test]
    #[cfg(target_arch = "aarch64")]
    fn a_spec_has_each_argument_and_their_number() {
        let spec = super::spec(Narrow, "-4@w1 8@[sp, 24]  1@7").unwrap();
        assert_eq!(spec[..16], [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 1, 32]);
        assert_eq!(spec[16..32], [24, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 248, 0, 0, 0]);
        assert_eq!(spec[32..48], [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 56]);
        assert_eq!(spec[Narrow.count_at()..], [3, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_spec_has_each_argument_and_their_number() {
        let spec = super::spec(Narrow, "-4@%edi 8@-16(%rbp)  1@$7").unwrap();
        assert_eq!(spec[..16], [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 112, 0, 1, 32]);
        assert_eq!(spec[16..24], (-16_i64).to_ne_bytes());
        assert_eq!(spec[24..32], [2, 0, 0, 0, 32, 0, 0, 0]);
        assert_eq!(spec[32..48], [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 56]);
        assert_eq!(spec[Narrow.count_at()..], [3, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(super::spec(Narrow, "").unwrap()[Narrow.count_at()..], [0, 0, 0, 0, 0, 0, 0, 1]);
    }

    /// Offsets are those of `offsetof` in both headers.
    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn the_wide_layout_has_the_same_at_other_places() {
        let arguments = if cfg!(target_arch = "x86_64") { "-4@%edi 8@%rsp" } else { "-4@w1 8@sp" };
        let (narrow, wide) = (spec(Narrow, arguments).unwrap(), spec(Wide, arguments).unwrap());
        assert_eq!((narrow.len(), wide.len()), (208, 304));
        for (narrow, wide) in narrow[..192].chunks(16).zip(wide[..288].chunks(24)) {
            assert_eq!((&narrow[..9], &narrow[12..]), (&wide[..9], &wide[14..18]));
        }
        assert_eq!(narrow[192..], wide[288..]);
    }

    #[test]
    fn unreadable_usdt_argument_is_refused() {
        for text in ["3@$1", "8f@%xmm0", "%rdi", "@", "4@", "-@%rdi", "999@%rdi", "8@\u{fc}"] {
            assert_eq!(spec(Narrow, text), Err(BadUsdtArgument::Unknown(text.to_owned())));
        }
        assert!(matches!(spec(Narrow, "[ 8@"), Err(BadUsdtArgument::Unknown(_))));
    }

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn no_more_arguments_are_taken_than_there_is_room_for() {
        let argument = if cfg!(target_arch = "x86_64") { "8@%rax " } else { "8@x0 " };
        assert!(spec(Narrow, &argument.repeat(12)).is_ok());
        assert_eq!(spec(Narrow, &argument.repeat(13)), Err(BadUsdtArgument::TooMany));
    }
}
