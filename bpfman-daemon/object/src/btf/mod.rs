pub(crate) mod contexts;
pub(crate) mod ext;
pub(crate) mod fixup;
pub(crate) mod kind;
pub(crate) mod map_bound_types;
mod shape;
mod types;
mod without_size;

use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::Arc;

pub use fixup::BtfFeatures;
pub(crate) use kind::Kind;
pub(crate) use types::{BtfMember, SecInfo, Type};

use crate::ObjectError;
use crate::held::{HeldBytes, HeldNumbers};

const MAGIC: u16 = 0xeb9f;
const HEADER_LEN: usize = 24;
/// Depth of modifiers, arrays and anonymous members, as in libbpf.
pub(crate) const MAX_DEPTH: usize = 32;

/// Returns the word at an offset, or zero past the end, which the parser excludes where it matters.
pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at.saturating_add(4)).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

type Extent = (usize, usize);

fn sections(data: &[u8]) -> Result<(Extent, Extent), ObjectError> {
    let header = data.get(..HEADER_LEN).ok_or_else(|| ObjectError::btf("header", "cut off"))?;
    let magic = u16::from_ne_bytes([header[0], header[1]]);
    if magic != MAGIC {
        return Err(ObjectError::btf("header", format!("magic {magic:#06x} instead of {MAGIC:#06x}")));
    }
    let part = |what: &str, offset: usize, len: usize| {
        let start = (word(header, 4) as usize).checked_add(word(header, offset) as usize);
        let end = start.and_then(|start| start.checked_add(word(header, len) as usize));
        match (start, end) {
            (Some(start), Some(end)) if end <= data.len() && start >= HEADER_LEN => Ok((start, end)),
            _ => Err(ObjectError::btf(what, "lies outside its section")),
        }
    };
    let types = part("types", 8, 12)?;
    let strings = part("strings", 16, 20)?;
    if strings.1 > strings.0 && data[strings.1 - 1] != 0 {
        return Err(ObjectError::btf("strings", "the last one is not terminated"));
    }
    Ok((types, strings))
}

/// Indexed BTF. Split BTF (of a module) continues the type ids and string offsets of its base.
#[derive(Clone, Debug)]
pub(crate) struct Btf {
    base: Option<Arc<Btf>>,
    data: HeldBytes,
    strings_at: usize,
    strings_end: usize,
    /// Type 0 is void; own ids start after those of the base.
    offsets: HeldNumbers,
}

impl Btf {
    pub(crate) fn parse(data: impl Into<Vec<u8>>) -> Result<Self, ObjectError> {
        Self::parse_split(data, None)
    }

    pub(crate) fn parse_split(
        data: impl Into<Vec<u8>>,
        base: Option<Arc<Self>>,
    ) -> Result<Self, ObjectError> {
        let data: Vec<u8> = data.into();
        let ((types_at, types_end), (strings_at, strings_end)) = sections(&data)?;
        let mut offsets = Vec::new();
        let mut at = types_at;
        while at < types_end {
            let len = Type::encoded_len(offsets.len() as u32 + 1, &data[at..types_end])?;
            offsets
                .push(u32::try_from(at).map_err(|_| ObjectError::btf("types", "more than four gigabytes"))?);
            at += len;
        }
        let (data, offsets) = (HeldBytes::Own(data), HeldNumbers::Own(offsets));
        Ok(Self { base, data, strings_at, strings_end, offsets })
    }

    pub(crate) fn indexed(data: HeldBytes, offsets: HeldNumbers) -> Result<Self, ObjectError> {
        let (_, (strings_at, strings_end)) = sections(&data)?;
        Ok(Self { base: None, data, strings_at, strings_end, offsets })
    }

    pub(crate) fn parts(&self) -> (&[u8], &HeldNumbers) {
        (&self.data, &self.offsets)
    }

    /// Returns the highest type id, which is the number of types without void.
    pub(crate) fn len(&self) -> u32 {
        // Each type has at least twelve bytes and offsets have 32 bits, so the count fits.
        self.first_own() + self.offsets.len() as u32
    }

    fn first_own(&self) -> u32 {
        self.base.as_deref().map_or(0, Self::len)
    }

    pub(crate) fn strings(&self) -> &[u8] {
        &self.data[self.strings_at..self.strings_end]
    }

    /// Returns a type; `None` for void and for ids past the end.
    pub(crate) fn get(&self, id: u32) -> Option<Type<'_>> {
        let Some(own) = id.checked_sub(self.first_own()) else { return self.base.as_deref()?.get(id) };
        let Some(index) = (own as usize).checked_sub(1) else { return self.base.as_deref()?.get(id) };
        let start = self.offsets.get(index)? as usize;
        let end = self.offsets.get(index + 1).map_or(self.data.len(), |end| end as usize);
        Some(Type::new(id, self.data.get(start..end)?))
    }

    /// Returns the name of a type; `None` for types of the base, or without a name.
    pub(crate) fn own_name(&self, id: u32) -> Option<&[u8]> {
        let index = id.checked_sub(self.first_own() + 1)?;
        let name_off = word(&self.data, self.offsets.get(index as usize)? as usize);
        (name_off != 0).then(|| self.string_bytes(name_off))
    }

    pub(crate) fn types(&self) -> impl Iterator<Item = Type<'_>> {
        (1..=self.len()).filter_map(|id| self.get(id))
    }

    /// Returns the string at an offset; empty for invalid offsets and for bytes that are not UTF-8.
    pub(crate) fn string(&self, offset: u32) -> &str {
        std::str::from_utf8(self.string_bytes(offset)).unwrap_or_default()
    }

    pub(crate) fn string_bytes(&self, offset: u32) -> &[u8] {
        let shared = self.base.as_deref().map_or(0, |base| base.strings().len());
        let own = match (offset as usize).checked_sub(shared) {
            Some(own) => own,
            None => return self.base.as_deref().map_or(&[][..], |base| base.string_bytes(offset)),
        };
        let tail = self.strings().get(own..).unwrap_or_default();
        CStr::from_bytes_until_nul(tail).map_or(tail, CStr::to_bytes)
    }

    pub(crate) fn name(&self, ty: &Type<'_>) -> &str {
        self.string(ty.name_off)
    }

    pub(crate) fn datasecs(&self) -> HashMap<&str, Type<'_>> {
        let mut found = HashMap::new();
        for ty in self.types().filter(|ty| ty.kind == Kind::Datasec) {
            found.entry(self.name(&ty)).or_insert(ty);
        }
        found
    }

    pub(crate) fn resolve(&self, mut id: u32) -> Option<Type<'_>> {
        for _ in 0..MAX_DEPTH {
            let ty = self.get(id)?;
            if !ty.kind.is_modifier() && ty.kind != Kind::Typedef {
                return Some(ty);
            }
            id = ty.size_or_type;
        }
        None
    }

    pub(crate) fn size_of(&self, id: u32) -> Option<u64> {
        let mut count: u64 = 1;
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            let ty = self.get(id)?;
            match ty.kind {
                Kind::Int
                | Kind::Struct
                | Kind::Union
                | Kind::Enum
                | Kind::Enum64
                | Kind::Float
                | Kind::Datasec => return count.checked_mul(u64::from(ty.size_or_type)),
                Kind::Ptr => return count.checked_mul(8),
                Kind::Array => {
                    let array = ty.array();
                    count = count.checked_mul(u64::from(array.len))?;
                    id = array.element;
                }
                Kind::Var | Kind::Typedef => id = ty.size_or_type,
                kind if kind.is_modifier() => id = ty.size_or_type,
                _ => return None,
            }
        }
        None
    }

    pub(crate) fn describe(&self, id: u32) -> String {
        let mut suffix = String::new();
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            let Some(ty) = self.get(id) else { return format!("void{suffix}") };
            let name = self.name(&ty);
            match ty.kind {
                Kind::Ptr => suffix.insert(0, '*'),
                Kind::Array => {
                    suffix.push_str(&format!("[{}]", ty.array().len));
                    id = ty.array().element;
                    continue;
                }
                Kind::Struct => return format!("struct {name}{suffix}"),
                Kind::Union => return format!("union {name}{suffix}"),
                Kind::Enum | Kind::Enum64 => return format!("enum {name}{suffix}"),
                Kind::FuncProto => return format!("function{suffix}"),
                kind if kind.is_modifier() || kind == Kind::Var => {}
                _ => return format!("{name}{suffix}"),
            }
            id = ty.size_or_type;
        }
        "unknown".to_owned()
    }
}
