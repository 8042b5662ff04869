//! Names of the kernel's drop reasons, read from its BTF because the numbers differ between kernels.

use std::collections::HashMap;
use std::fs;

const TYPES: &str = "/sys/kernel/btf/vmlinux";
const ENUM: &str = "skb_drop_reason";
const PREFIX: &str = "SKB_DROP_REASON_";
const MAGIC: u16 = 0xeb9f;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DropReason(pub u32);

#[derive(Debug)]
pub struct Reasons(HashMap<u32, String>);

impl Reasons {
    /// Reads this kernel's names. If that fails, prints a warning; numbers are then shown instead.
    pub fn of_this_kernel() -> Self {
        let read = fs::read(TYPES).map_err(|error| error.to_string());
        let names = read.and_then(|types| parse(&types).ok_or_else(|| format!("no enum {ENUM} in it")));
        Self(names.unwrap_or_else(|error| {
            eprintln!(
                "warning: cannot read the names of drop reasons from {TYPES} ({error}): numbers are shown"
            );
            HashMap::new()
        }))
    }

    /// Returns a reason's name, or its number if it has no name. A number's upper half is the subsystem.
    pub fn name(&self, DropReason(number): DropReason) -> String {
        match (self.0.get(&number), number >> 16) {
            (Some(name), _) => name.clone(),
            (None, 0) => format!("reason {number}"),
            (None, subsystem) => format!("subsystem {subsystem} reason {}", number & 0xffff),
        }
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn parse(btf: &[u8]) -> Option<HashMap<u32, String>> {
    if half(btf, 0)? != MAGIC {
        return None;
    }
    let section = |at| {
        let start = word(btf, 4)? as usize + word(btf, at)? as usize;
        btf.get(start..start.checked_add(word(btf, at + 4)? as usize)?)
    };
    let (types, strings) = (section(8)?, section(16)?);
    let string = |at: u32| {
        let text = strings.get(at as usize..)?;
        std::str::from_utf8(&text[..text.iter().position(|byte| *byte == 0)?]).ok()
    };
    let mut at = 0;
    loop {
        let info = word(types, at + 4)?;
        let (kind, members) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        let body = at + 12;
        if kind == KIND_ENUM && members > 0 && string(word(types, at)?) == Some(ENUM) {
            let named = (0..members).map(|member| {
                let name = string(word(types, body + member * 8)?)?;
                let number = word(types, body + member * 8 + 4)?;
                Some((number, name.strip_prefix(PREFIX).unwrap_or(name).to_owned()))
            });
            return named.collect();
        }
        at = body + body_bytes(kind, members)?;
    }
}

const KIND_ENUM: u32 = 6;

fn body_bytes(kind: u32, members: usize) -> Option<usize> {
    Some(match kind {
        // Pointers, forward declarations, type definitions, qualifiers, functions, floats, type tags.
        2 | 7..=12 | 16 | 18 => 0,
        // Integers, variables, declaration tags.
        1 | 14 | 17 => 4,
        // Arrays.
        3 => 12,
        // Enumerations, and the parameters of functions.
        6 | 13 => members * 8,
        // Structures, unions, sections, and 64-bit enumerations.
        4 | 5 | 15 | 19 => members * 12,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let strings = b"\0skb_drop_reason\0SKB_CONSUMED\0SKB_DROP_REASON_NO_SOCKET\0";
        let types: Vec<u8> = [0, 2 << 24, 1, 1, 6 << 24 | 2, 4, 17, 1, 30, 3]
            .iter()
            .flat_map(|word: &u32| word.to_ne_bytes())
            .collect();
        let (types_length, strings_length) = (types.len() as u32, strings.len() as u32);
        let mut btf = [MAGIC.to_ne_bytes(), [1, 0]].concat();
        for word in [24, 0, types_length, types_length, strings_length] {
            btf.extend(word.to_ne_bytes());
        }
        [&btf[..], &types, strings].concat()
    }

    #[test]
    fn names_are_read_without_the_prefix_that_all_have() {
        let reasons = Reasons(parse(&sample()).unwrap());
        assert_eq!(reasons.name(DropReason(3)), "NO_SOCKET");
        assert_eq!(reasons.name(DropReason(1)), "SKB_CONSUMED");
        assert_eq!(reasons.name(DropReason(4)), "reason 4");
        assert_eq!(reasons.name(DropReason(3 << 16 | 2)), "subsystem 3 reason 2");
    }

    #[test]
    fn truncated_btf_has_no_names() {
        let whole = sample();
        assert!((0..whole.len()).all(|length| parse(&whole[..length]).is_none()));
    }
}
