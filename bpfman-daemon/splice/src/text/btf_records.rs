//! Records of BTF (`linux/btf.h`).

pub(crate) const INT: u32 = 1;
pub(crate) const PTR: u32 = 2;
pub(crate) const ARRAY: u32 = 3;
pub(crate) const STRUCT: u32 = 4;
pub(crate) const UNION: u32 = 5;
pub(crate) const ENUM: u32 = 6;
pub(crate) const FWD: u32 = 7;
pub(crate) const TYPEDEF: u32 = 8;
pub(crate) const VOLATILE: u32 = 9;
pub(crate) const CONST: u32 = 10;
pub(crate) const RESTRICT: u32 = 11;
pub(crate) const FUNC: u32 = 12;
pub(crate) const FUNC_PROTO: u32 = 13;
pub(crate) const VAR: u32 = 14;
pub(crate) const DATASEC: u32 = 15;
pub(crate) const FLOAT: u32 = 16;
pub(crate) const DECL_TAG: u32 = 17;
pub(crate) const TYPE_TAG: u32 = 18;
pub(crate) const ENUM64: u32 = 19;

const MAGIC: u16 = 0xeb9f;
pub(crate) const HEADER: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WordType {
    Name,
    Type,
    Number,
}
use WordType::{Name, Number, Type};

/// Returns the words after name and kind: the third common one, the words once behind it, and those of a `vlen` entry.
pub(crate) fn shape(kind: u32) -> Option<(WordType, &'static [WordType], &'static [WordType])> {
    Some(match kind {
        INT => (Number, &[Number], &[]),
        ARRAY => (Number, &[Type, Type, Number], &[]),
        STRUCT | UNION => (Number, &[], &[Name, Type, Number]),
        ENUM => (Number, &[], &[Name, Number]),
        ENUM64 => (Number, &[], &[Name, Number, Number]),
        FWD | FLOAT => (Number, &[], &[]),
        PTR | TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => (Type, &[], &[]),
        // Linkage takes the place of a length.
        FUNC => (Type, &[], &[]),
        FUNC_PROTO => (Type, &[], &[Name, Type]),
        VAR | DECL_TAG => (Type, &[Number], &[]),
        DATASEC => (Number, &[], &[Type, Number, Number]),
        _ => return None,
    })
}

pub(crate) struct Sections<'a> {
    pub(crate) types: &'a [u8],
    pub(crate) strings: &'a [u8],
}

/// Supports this machine's byte order only.
pub(crate) fn sections(raw: &[u8]) -> Result<Sections<'_>, &'static str> {
    let word = |at: usize| word_at(raw, at).ok_or("the header is cut short");
    let magic = raw.get(..2).ok_or("the header is cut short")?;
    if magic != MAGIC.to_ne_bytes() {
        return Err("the magic number is wrong");
    }
    if raw.get(2) != Some(&1) {
        return Err("the version is not 1");
    }
    let header = word(4)? as usize;
    let section = |offset: u32, len: u32| {
        let start = header.checked_add(offset as usize)?;
        raw.get(start..start.checked_add(len as usize)?)
    };
    let types = section(word(8)?, word(12)?).ok_or("the types lie outside")?;
    let strings = section(word(16)?, word(20)?).ok_or("the strings lie outside")?;
    if strings.first() != Some(&0) || strings.last() != Some(&0) {
        return Err("the strings do not begin and end with a zero byte");
    }
    Ok(Sections { types, strings })
}

pub(crate) fn word_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]))
}

pub(crate) fn assemble(types: &[u8], strings: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(HEADER + types.len() + strings.len());
    raw.extend_from_slice(&MAGIC.to_ne_bytes());
    raw.extend_from_slice(&[1, 0]);
    // Sizes were checked against the kernel's 16 MiB.
    for word in [HEADER, 0, types.len(), types.len(), strings.len()] {
        raw.extend_from_slice(&(word as u32).to_ne_bytes());
    }
    raw.extend_from_slice(types);
    raw.extend_from_slice(strings);
    raw
}
