//! What the bytes of a value mean: a type of BTF, as a tree that can be told to another process.

use serde::{Deserialize, Serialize};

use crate::btf::{Btf, BtfMember, Kind, Type};

/// How deep types are followed.
pub const MOST_DEPTH: usize = 8;
/// Longest name of a field or of a number, in bytes: the kernel's own are no longer.
pub const LONGEST_PART: usize = 512;
/// Most types, fields and names of all variables of an object. Variables beyond that are known by their size alone.
pub const MOST_PARTS: usize = 10_000;

/// What the bytes of a value mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValueLayout {
    /// A number of 1, 2, 4, 8 or 16 bytes, in this machine's byte order.
    Integer {
        /// How many bytes.
        bytes: usize,
        /// Whether it may be negative.
        signed: bool,
    },
    /// `bool`: a byte that is 0 or 1.
    Bool,
    /// `char`: a number, and of an array a text.
    Char,
    /// `float` (4) or `double` (8).
    Float {
        /// How many bytes.
        bytes: usize,
    },
    /// A number with names.
    Enumeration {
        /// How many bytes.
        bytes: usize,
        /// Names, and their values sign-extended to 64 bits.
        names: Vec<(String, u64)>,
    },
    /// Elements of one type, one behind the other.
    Array {
        /// What each is.
        element: Box<ValueLayout>,
        /// How many.
        count: usize,
    },
    /// Fields.
    Struct {
        /// How many bytes, with those between and behind fields.
        bytes: usize,
        /// All with a name; those of structs without a name are counted as their own.
        fields: Vec<FieldLayout>,
    },
    /// Some bits of bytes, as a number or its name: a bit field.
    Bits {
        /// How many bytes have bits of it.
        bytes: usize,
        /// The lowest bit of it among theirs, 0 to 7.
        first: u32,
        /// How many bits.
        count: u32,
        /// What they mean: a number, a truth or an enumeration.
        base: Box<ValueLayout>,
    },
    /// Bytes of which no more is known, or can be said: pointers, unions with a name.
    Opaque {
        /// How many.
        bytes: usize,
    },
}

/// A field of a struct.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldLayout {
    /// Its name.
    pub name: String,
    /// Bytes from the start of the struct.
    pub offset: usize,
    /// What it is.
    pub layout: ValueLayout,
}

impl ValueLayout {
    /// Bytes of a value; none if that is more than can be.
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

    /// True for what may be below 0: of a bit field the highest bit is the sign then.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        match self {
            Self::Integer { signed, .. } => *signed,
            // They are sign-extended.
            Self::Enumeration { names, .. } => names.iter().any(|(_, value)| *value > i64::MAX as u64),
            _ => false,
        }
    }

    /// Says in what this is no layout that is read here: fields lie in their struct, numbers have sizes that numbers have,
    /// and it is neither too deep nor too large. What is known by its size alone counts for nothing.
    pub(crate) fn check(&self, parts: &mut usize) -> Result<(), &'static str> {
        if matches!(self, Self::Opaque { .. }) { Ok(()) } else { self.check_at(MOST_DEPTH, parts) }
    }

    fn check_at(&self, depth: usize, parts: &mut usize) -> Result<(), &'static str> {
        *parts += 1 + if let Self::Enumeration { names, .. } = self { names.len() } else { 0 };
        if depth == 0 || *parts > MOST_PARTS {
            return Err("has a type that is too large");
        }
        let long = |name: &str| name.len() > LONGEST_PART;
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
    /// What a value of a type is, of this many bytes; `parts` is what is left of [`MOST_PARTS`], and what was looked at is
    /// taken from it in any case. A type that is too large or makes no sense is opaque.
    pub(crate) fn layout(&self, id: u32, size: usize, parts: &mut usize) -> ValueLayout {
        match self.layout_at(id, MOST_DEPTH - 1, parts) {
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

    /// The name of a field or of a number. Many may have the same, so a long one is none.
    fn part(&self, name: u32) -> Option<String> {
        (self.string_bytes(name).len() <= LONGEST_PART).then(|| self.string(name).to_owned())
    }

    /// Adds the fields of a struct, and of those without a name in it, as C reaches them.
    fn push_fields(
        &self,
        ty: &Type<'_>,
        base: usize,
        depth: usize,
        parts: &mut usize,
        fields: &mut Vec<FieldLayout>,
    ) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        // Those that are left out, or are counted by their own members, take their time too.
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
    /// A bit field; none for one that cannot be told: big-endian machines count bits from the other end.
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
        // Clang says of no number that it is a character, only by its name.
        ValueLayout::Char
    } else {
        ValueLayout::Integer { bytes, signed: encoding & SIGNED != 0 }
    }
}
