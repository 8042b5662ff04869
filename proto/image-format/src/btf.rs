//! Minimal BTF reader: names and types of an object's maps.
//!
//! libbpf's map definitions are variables in `.maps`, each a struct whose member `type` points to an array.
//! The length of the array is the number of the map type (`__uint`).

use std::collections::BTreeMap;

use crate::Endian;

/// BTF that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// The header is missing, of another byte order or of another version.
    #[error("no BTF header of version 1 at its start")]
    Header,
    #[error("it ends inside {0}")]
    Truncated(&'static str),
    /// A type has a kind that this reader does not know, so the types after it cannot be found.
    #[error("type {id} is of the unknown kind {kind}")]
    Kind {
        /// Number of the type, from 1.
        id: usize,
        /// Kind of the type.
        kind: u32,
    },
    /// The definition of a map is not a struct with a `type`.
    #[error("the definition of map `{0}` has no type")]
    MapType(String),
}

const MAGIC: u16 = 0xeb9f;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;

struct Type {
    name: u32,
    kind: u32,
    third: u32,
    rest: Vec<u32>,
}

fn words_behind(kind: u32, vlen: usize) -> Option<usize> {
    Some(match kind {
        // Pointer, forward declaration, typedef, volatile, const, restrict, function, float, type tag.
        KIND_PTR | 7..=12 | 16 | 18 => 0,
        // Integer, variable, declaration tag.
        1 | KIND_VAR | 17 => 1,
        KIND_ARRAY => 3,
        // Struct, union, section, 64-bit enumeration: three words a member.
        KIND_STRUCT | 5 | KIND_DATASEC | 19 => 3 * vlen,
        // Enumeration, function prototype: two words per member.
        6 | 13 => 2 * vlen,
        _ => return None,
    })
}

struct Btf<'a> {
    types: Vec<Type>,
    strings: &'a [u8],
}

#[derive(Clone, Copy)]
struct Words<'a> {
    bytes: &'a [u8],
    endian: Endian,
}

impl Words<'_> {
    fn at(&self, offset: usize) -> Option<u32> {
        let bytes = self.bytes.get(offset..offset.checked_add(4)?)?.try_into().ok()?;
        Some(match self.endian {
            Endian::Little => u32::from_le_bytes(bytes),
            Endian::Big => u32::from_be_bytes(bytes),
        })
    }

    fn size_at(&self, offset: usize) -> Option<usize> {
        self.at(offset).and_then(|word| usize::try_from(word).ok())
    }
}

pub(crate) fn maps(bytes: &[u8], endian: Endian) -> Result<BTreeMap<String, u32>, BtfError> {
    let btf = Btf::parse(bytes, endian)?;
    let mut found = BTreeMap::new();
    for section in btf.types.iter().filter(|t| t.kind == KIND_DATASEC) {
        if btf.string(section.name)? != ".maps" {
            continue;
        }
        for variable in section.rest.chunks_exact(3).filter_map(|entry| btf.get(entry[0])) {
            let name = btf.string(variable.name)?.to_owned();
            let map_type = btf.map_type(variable)?.ok_or_else(|| BtfError::MapType(name.clone()))?;
            found.insert(name, map_type);
        }
    }
    Ok(found)
}

impl<'a> Btf<'a> {
    fn parse(bytes: &'a [u8], endian: Endian) -> Result<Self, BtfError> {
        let words = Words { bytes, endian };
        let first = words.at(0).ok_or(BtfError::Header)?;
        // struct btf_header: u16 magic, u8 version, u8 flags.
        let magic = match endian {
            Endian::Little => first & 0xffff,
            Endian::Big => first >> 16,
        };
        if magic != u32::from(MAGIC) || bytes.get(2) != Some(&1) {
            return Err(BtfError::Header);
        }
        let field = |offset| words.size_at(offset).ok_or(BtfError::Truncated("its header"));
        let header = field(4)?;
        let part = |offset: usize, length: usize, what| {
            let start = header.checked_add(offset);
            let end = start.and_then(|start| start.checked_add(length));
            start.zip(end).and_then(|(start, end)| bytes.get(start..end)).ok_or(BtfError::Truncated(what))
        };
        let types = part(field(8)?, field(12)?, "its types")?;
        let strings = part(field(16)?, field(20)?, "its strings")?;
        Ok(Self { types: Self::types(Words { bytes: types, endian })?, strings })
    }

    fn types(words: Words<'_>) -> Result<Vec<Type>, BtfError> {
        let mut types = Vec::new();
        let mut at = 0;
        while at < words.bytes.len() {
            let short = BtfError::Truncated("a type");
            let (Some(name), Some(info), Some(third)) = (words.at(at), words.at(at + 4), words.at(at + 8))
            else {
                return Err(short);
            };
            let kind = info >> 24 & 0x1f;
            let vlen = (info & 0xffff) as usize;
            let count = words_behind(kind, vlen).ok_or(BtfError::Kind { id: types.len() + 1, kind })?;
            at += 12;
            let rest: Option<Vec<u32>> = (0..count).map(|word| words.at(at + 4 * word)).collect();
            at += 4 * count;
            types.push(Type { name, kind, third, rest: rest.ok_or(short)? });
        }
        Ok(types)
    }

    fn get(&self, id: u32) -> Option<&Type> {
        self.types.get(usize::try_from(id).ok()?.checked_sub(1)?)
    }

    fn string(&self, offset: u32) -> Result<&'a str, BtfError> {
        let short = BtfError::Truncated("a name");
        let tail = usize::try_from(offset).ok().and_then(|at| self.strings.get(at..)).ok_or(short.clone())?;
        let end = tail.iter().position(|byte| *byte == 0).ok_or(short.clone())?;
        std::str::from_utf8(&tail[..end]).map_err(|_| short)
    }

    fn map_type(&self, variable: &Type) -> Result<Option<u32>, BtfError> {
        let Some(definition) = self.resolve(variable.third) else { return Ok(None) };
        if variable.kind != KIND_VAR || definition.kind != KIND_STRUCT {
            return Ok(None);
        }
        for member in definition.rest.chunks_exact(3) {
            if self.string(member[0])? == "type" {
                let array = self
                    .resolve(member[1])
                    .filter(|pointer| pointer.kind == KIND_PTR)
                    .and_then(|pointer| self.resolve(pointer.third));
                return Ok(array.filter(|array| array.kind == KIND_ARRAY).map(|array| array.rest[2]));
            }
        }
        Ok(None)
    }

    /// Skips typedefs and qualifiers; none if there are more than any compiler writes, as in a loop.
    fn resolve(&self, mut id: u32) -> Option<&Type> {
        for _ in 0..32 {
            let found = self.get(id)?;
            if !matches!(found.kind, 8..=11 | 18) {
                return Some(found);
            }
            id = found.third;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn btf_that_is_cut_short_never_panics() {
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24u32, 0, 12, 12, 7] {
            bytes.extend(word.to_le_bytes());
        }
        for word in [1u32, 15 << 24 | 1, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(b"\0.maps\0");
        assert_eq!(maps(&bytes, Endian::Little), Err(BtfError::Truncated("a type")));
        for length in 0..bytes.len() {
            assert!(maps(&bytes[..length], Endian::Little).is_err(), "{length}");
        }
        assert_eq!(maps(&bytes, Endian::Big), Err(BtfError::Header));
    }
}
