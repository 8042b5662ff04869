use super::CoreError;
use super::spec::Spec;
use crate::btf::{Btf, Kind};

/// `enum bpf_core_relo_kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RelocKind {
    FieldByteOffset = 0,
    FieldByteSize = 1,
    FieldExists = 2,
    FieldSigned = 3,
    FieldShiftLeft = 4,
    FieldShiftRight = 5,
    TypeIdLocal = 6,
    TypeIdTarget = 7,
    TypeExists = 8,
    TypeSize = 9,
    EnumeratorExists = 10,
    EnumeratorValue = 11,
    TypeMatches = 12,
}

impl RelocKind {
    pub(super) fn from_number(number: u32) -> Result<Self, CoreError> {
        Ok(match number {
            0 => Self::FieldByteOffset,
            1 => Self::FieldByteSize,
            2 => Self::FieldExists,
            3 => Self::FieldSigned,
            4 => Self::FieldShiftLeft,
            5 => Self::FieldShiftRight,
            6 => Self::TypeIdLocal,
            7 => Self::TypeIdTarget,
            8 => Self::TypeExists,
            9 => Self::TypeSize,
            10 => Self::EnumeratorExists,
            11 => Self::EnumeratorValue,
            12 => Self::TypeMatches,
            _ => return Err(CoreError::UnknownKind(number)),
        })
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::FieldByteOffset => "byte_off",
            Self::FieldByteSize => "byte_sz",
            Self::FieldExists => "field_exists",
            Self::FieldSigned => "signed",
            Self::FieldShiftLeft => "lshift_u64",
            Self::FieldShiftRight => "rshift_u64",
            Self::TypeIdLocal => "local_type_id",
            Self::TypeIdTarget => "target_type_id",
            Self::TypeExists => "type_exists",
            Self::TypeSize => "type_size",
            Self::EnumeratorExists => "enumval_exists",
            Self::EnumeratorValue => "enumval_value",
            Self::TypeMatches => "type_matches",
        }
    }

    pub(super) const fn is_about_types(self) -> bool {
        matches!(
            self,
            Self::TypeIdLocal | Self::TypeIdTarget | Self::TypeExists | Self::TypeSize | Self::TypeMatches
        )
    }

    pub(super) const fn is_about_enumerators(self) -> bool {
        matches!(self, Self::EnumeratorExists | Self::EnumeratorValue)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub number: u64,
    pub field: Option<(u64, u32)>,
    /// True if the instruction must contain the number of the local types.
    pub checked: bool,
}

impl Value {
    const fn plain(number: u64) -> Self {
        Self { number, field: None, checked: true }
    }
}

/// Returns the value of a relocation on one side; `None` if the type has no such path and the relocation needs one.
pub(super) fn evaluate(kind: RelocKind, side: Option<(&Btf, &Spec)>) -> Result<Option<Value>, CoreError> {
    let Some((btf, spec)) = side else {
        return Ok(match kind {
            RelocKind::FieldExists | RelocKind::EnumeratorExists => Some(Value::plain(0)),
            _ if kind.is_about_types() => Some(Value::plain(0)),
            _ => None,
        });
    };
    let number = match kind {
        RelocKind::FieldExists
        | RelocKind::TypeExists
        | RelocKind::TypeMatches
        | RelocKind::EnumeratorExists => 1,
        RelocKind::TypeIdLocal | RelocKind::TypeIdTarget => {
            // Compilers write arbitrary numbers here.
            return Ok(Some(Value { number: u64::from(spec.root), field: None, checked: false }));
        }
        RelocKind::TypeSize => btf.size_of(spec.root).ok_or(CoreError::NoSize(spec.root))?,
        RelocKind::EnumeratorValue => {
            let step = spec.steps.first().ok_or(CoreError::NoAnswer("no enumerator"))?;
            btf.get(step.type_id)
                .and_then(|ty| ty.enumerators().nth(step.index as usize))
                .map(|(_, value)| value)
                .ok_or(CoreError::NoAnswer("no such enumerator"))?
        }
        _ => return field(kind, btf, spec).map(Some),
    };
    Ok(Some(Value::plain(number)))
}

fn field(kind: RelocKind, btf: &Btf, spec: &Spec) -> Result<Value, CoreError> {
    let step = spec.steps.last().ok_or(CoreError::NoAnswer("an empty path"))?;
    if !step.named {
        let size = btf.size_of(step.type_id).ok_or(CoreError::NoAnswer("an element without a size"))?;
        return match kind {
            RelocKind::FieldByteOffset => {
                Ok(Value { field: Some((size, step.type_id)), ..Value::plain(spec.bit_offset / 8) })
            }
            RelocKind::FieldByteSize => Ok(Value::plain(size)),
            _ => Err(CoreError::NoAnswer("only the offset and size of an array's element can be asked for")),
        };
    }
    let member = btf
        .get(step.type_id)
        .and_then(|ty| ty.members().nth(step.index as usize))
        .ok_or(CoreError::NoAnswer("no such member"))?;
    let ty = btf.resolve(member.type_id).ok_or(CoreError::NoAnswer("a member without a type"))?;
    let mut size = btf.size_of(member.type_id).ok_or(CoreError::NoAnswer("a member without a size"))?;
    // Old compilers keep bit fields in the description of the integer.
    let old_bits = ty.kind == Kind::Int && (ty.int_offset() != 0 || u64::from(ty.int_bits()) != size * 8);
    let is_bit_field = member.bit_size > 0 || old_bits;
    let (bits, bit_offset) = if member.bit_size > 0 {
        (u64::from(member.bit_size), spec.bit_offset)
    } else if old_bits {
        (u64::from(ty.int_bits()), spec.bit_offset + u64::from(ty.int_offset()))
    } else {
        (size * 8, spec.bit_offset)
    };
    let mut offset = bit_offset / 8;
    if is_bit_field {
        if size == 0 || size > 8 {
            return Err(CoreError::BitField(size));
        }
        offset = offset / size * size;
        // The smallest aligned load that holds all bits.
        while bit_offset + bits > (offset + size) * 8 {
            if size >= 8 {
                return Err(CoreError::NoAnswer("a bit field that no load holds"));
            }
            size *= 2;
            offset = bit_offset / 8 / size * size;
        }
    }
    Ok(match kind {
        // The offset of a bit field depends on the chosen load, so compilers' numbers may differ.
        RelocKind::FieldByteOffset if is_bit_field => Value { checked: false, ..Value::plain(offset) },
        RelocKind::FieldByteOffset => Value { field: Some((size, member.type_id)), ..Value::plain(offset) },
        RelocKind::FieldByteSize => Value { checked: !is_bit_field, ..Value::plain(size) },
        RelocKind::FieldSigned => {
            let signed = ty.kind.is_enum() && ty.flag() || ty.kind == Kind::Int && ty.int_encoding() & 1 != 0;
            Value { checked: false, ..Value::plain(u64::from(signed)) }
        }
        RelocKind::FieldShiftLeft => {
            let shift = if cfg!(target_endian = "little") {
                64_u64.checked_sub(bit_offset + bits - offset * 8)
            } else {
                Some((8 - size.min(8)) * 8 + (bit_offset - offset * 8))
            };
            let shift = shift.ok_or(CoreError::NoAnswer("a field wider than 64 bits"))?;
            Value { checked: false, ..Value::plain(shift) }
        }
        RelocKind::FieldShiftRight => {
            let shift = 64_u64.checked_sub(bits).ok_or(CoreError::NoAnswer("a field wider than 64 bits"))?;
            Value { checked: false, ..Value::plain(shift) }
        }
        _ => return Err(CoreError::NoAnswer("not a question about fields")),
    })
}
