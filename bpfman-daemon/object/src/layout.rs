//! BTF types as a tree that can be sent to another process.

use serde::{Deserialize, Serialize};

use crate::btf::{Btf, BtfMember, Kind, Type};

pub const MAX_DEPTH: usize = 8;
/// Maximum size of a name, in bytes; the kernel's own names are not longer.
pub const MAX_PART: usize = 512;
/// Maximum number of types, fields and names of all variables of an object. Of further variables only the size is known.
pub const MAX_PARTS: usize = 10_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValueLayout {
    /// An integer of 1, 2, 4, 8 or 16 bytes, in host byte order.
    Integer {
        bytes: usize,
        signed: bool,
    },
    /// `bool`: one byte with 0 or 1.
    Bool,
    /// `char`: a number; an array of them is a text.
    Char,
    /// `float` (4) or `double` (8).
    Float {
        bytes: usize,
    },
    Enumeration {
        bytes: usize,
        /// Names, with their values sign-extended to 64 bits.
        names: Vec<(String, u64)>,
    },
    Array {
        element: Box<ValueLayout>,
        count: usize,
    },
    Struct {
        /// Size in bytes, including padding.
        bytes: usize,
        /// Fields with names, including those of anonymous structs.
        fields: Vec<FieldLayout>,
    },
    /// A bit field.
    Bits {
        /// Number of bytes that contain its bits.
        bytes: usize,
        /// Lowest bit within these bytes, 0 to 7.
        first: u32,
        /// Width in bits.
        count: u32,
        /// Type: an integer, a boolean or an enumeration.
        base: Box<ValueLayout>,
    },
    /// Bytes without a known layout: pointers, named unions.
    Opaque {
        bytes: usize,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldLayout {
    pub name: String,
    /// Offset in the struct, in bytes.
    pub offset: usize,
    pub layout: ValueLayout,
}

impl ValueLayout {
    /// Returns the size of a value in bytes; `None` on overflow.
    #[must_use]
    pub fn size(&self) -> Option<usize> {
        match self {
            Self::Bool | Self::Char => Some(1),
            Self::Integer { bytes, .. }
            | Self::Float { bytes }
            | Self::Enumeration { bytes, .. }
            | Self::Struct { bytes, .. }
            | Self::Bits { bytes, .. }
            | Self::Opaque { bytes } => Some(*bytes),
            Self::Array { element, count } => element.size()?.checked_mul(*count),
        }
    }

    const fn is_number_or_name(&self) -> bool {
        matches!(self, Self::Integer { .. } | Self::Bool | Self::Char | Self::Enumeration { .. })
    }

    /// Returns whether values may be negative: the highest bit of a bit field is then the sign.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        match self {
            Self::Integer { signed, .. } => *signed,
            // Values are sign-extended.
            Self::Enumeration { names, .. } => names.iter().any(|(_, value)| *value > i64::MAX as u64),
            _ => false,
        }
    }

    /// Checks that fields lie in their struct, numbers have possible sizes, and depth and size are limited.
    pub(crate) fn check(&self, parts: &mut usize) -> Result<(), &'static str> {
        if matches!(self, Self::Opaque { .. }) { Ok(()) } else { self.check_at(MAX_DEPTH, parts) }
    }

    fn check_at(&self, depth: usize, parts: &mut usize) -> Result<(), &'static str> {
        *parts += 1 + if let Self::Enumeration { names, .. } = self { names.len() } else { 0 };
        if depth == 0 || *parts > MAX_PARTS {
            return Err("has a type that is too large");
        }
        let long = |name: &str| name.len() > MAX_PART;
        let is_sound = match self {
            Self::Integer { bytes, .. } => matches!(bytes, 1 | 2 | 4 | 8 | 16),
            Self::Enumeration { names, .. } if names.iter().any(|(name, _)| long(name)) => {
                return Err("has a number with a name that is too long");
            }
            Self::Enumeration { bytes, .. } => matches!(bytes, 1 | 2 | 4 | 8),
            Self::Float { bytes } => matches!(bytes, 4 | 8),
            Self::Array { element, .. } => return element.check_at(depth - 1, parts),
            Self::Struct { bytes, fields } => {
                for field in fields {
                    if long(&field.name) {
                        return Err("has a field with a name that is too long");
                    }
                    field.layout.check_at(depth - 1, parts)?;
                    let end = field.layout.size().and_then(|size| size.checked_add(field.offset));
                    if end.is_none_or(|end| end > *bytes) {
                        return Err("has a field outside of its struct");
                    }
                }
                true
            }
            Self::Bits { bytes, first, count, base } => {
                base.check_at(depth - 1, parts)?;
                let most = (8 * base.size().unwrap_or(0)).min(64);
                let end = u64::from(*first) + u64::from(*count);
                base.is_number_or_name()
                    && *first < 8
                    && (1..=most).contains(&(*count as usize))
                    && *bytes <= 16
                    && end <= 8 * *bytes as u64
            }
            Self::Bool | Self::Char | Self::Opaque { .. } => true,
        };
        if is_sound { Ok(()) } else { Err("has a number of a size that none has") }
    }
}

impl Btf {
    /// Returns a type's layout, opaque if it is too large or invalid. Always subtracts the visited parts from `parts`.
    pub(crate) fn layout(&self, id: u32, size: usize, parts: &mut usize) -> ValueLayout {
        match self.layout_at(id, MAX_DEPTH - 1, parts) {
            Some(layout) if layout.size() == Some(size) && layout.check(&mut 0).is_ok() => layout,
            _ => ValueLayout::Opaque { bytes: size },
        }
    }

    fn layout_at(&self, id: u32, depth: usize, parts: &mut usize) -> Option<ValueLayout> {
        let ty = self.resolve(id)?;
        *parts = parts.checked_sub(1)?;
        let bytes = usize::try_from(self.size_of(id)?).ok()?;
        if depth == 0 {
            return Some(ValueLayout::Opaque { bytes });
        }
        Some(match ty.kind {
            Kind::Int => integer(&ty, self.name(&ty), bytes),
            Kind::Float if matches!(bytes, 4 | 8) => ValueLayout::Float { bytes },
            Kind::Enum | Kind::Enum64 => {
                *parts = parts.checked_sub(ty.vlen() as usize)?;
                let names = ty.enumerators().map(|(name, value)| Some((self.part(name)?, value)));
                ValueLayout::Enumeration { bytes, names: names.collect::<Option<_>>()? }
            }
            Kind::Array => {
                let array = ty.array();
                let element = self.layout_at(array.element, depth - 1, parts)?;
                ValueLayout::Array { element: Box::new(element), count: array.len as usize }
            }
            Kind::Struct => {
                let mut fields = Vec::new();
                self.push_fields(&ty, 0, depth, parts, &mut fields)?;
                ValueLayout::Struct { bytes, fields }
            }
            _ => ValueLayout::Opaque { bytes },
        })
    }

    /// Returns a name. `None` if it is long, because many fields may have the same one and each gets a copy.
    fn part(&self, name: u32) -> Option<String> {
        (self.string_bytes(name).len() <= MAX_PART).then(|| self.string(name).to_owned())
    }

    /// Adds the fields of a struct, and as in C, those of anonymous structs in it.
    fn push_fields(
        &self,
        ty: &Type<'_>,
        base: usize,
        depth: usize,
        parts: &mut usize,
        fields: &mut Vec<FieldLayout>,
    ) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        // Skipped fields cost time as well.
        *parts = parts.checked_sub(ty.vlen() as usize)?;
        for member in ty.members() {
            let offset = base + (member.bit_offset / 8) as usize;
            if member.bit_size != 0 || member.bit_offset % 8 != 0 {
                let name = self.part(member.name_off)?;
                let bits = self.bits(&member, parts);
                fields.extend(bits.filter(|_| !name.is_empty()).map(|layout| FieldLayout {
                    name,
                    offset,
                    layout,
                }));
                continue;
            }
            let name = self.part(member.name_off)?;
            if !name.is_empty() {
                let layout = self.layout_at(member.type_id, depth, parts)?;
                fields.push(FieldLayout { name, offset, layout });
            } else if let Some(inner) = self.resolve(member.type_id).filter(|ty| ty.kind.is_composite()) {
                self.push_fields(&inner, offset, depth, parts, fields)?;
            }
        }
        Some(())
    }
}

impl Btf {
    /// Returns a bit field's layout; `None` if unsupported: big-endian machines count bits from the other end.
    fn bits(&self, member: &BtfMember, parts: &mut usize) -> Option<ValueLayout> {
        let base = self.layout_at(member.type_id, 1, parts)?;
        let (first, count) = (member.bit_offset % 8, member.bit_size);
        let bytes = (first + count).div_ceil(8) as usize;
        let layout = ValueLayout::Bits { bytes, first, count, base: Box::new(base) };
        (cfg!(target_endian = "little") && layout.check(&mut 0).is_ok()).then_some(layout)
    }
}

fn integer(ty: &Type<'_>, name: &str, bytes: usize) -> ValueLayout {
    const SIGNED: u32 = 1;
    const BOOLEAN: u32 = 4;
    let encoding = ty.int_encoding();
    if !matches!(bytes, 1 | 2 | 4 | 8 | 16) || ty.int_offset() != 0 || ty.int_bits() as usize != 8 * bytes {
        return ValueLayout::Opaque { bytes };
    }
    if bytes == 1 && encoding & BOOLEAN != 0 {
        ValueLayout::Bool
    } else if bytes == 1 && name == "char" {
        // Clang marks `char` only by its name.
        ValueLayout::Char
    } else {
        ValueLayout::Integer { bytes, signed: encoding & SIGNED != 0 }
    }
}
