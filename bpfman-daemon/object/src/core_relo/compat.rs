use crate::btf::{Btf, Kind, MAX_DEPTH, Type};
use crate::kernel_btf::essential_name;

/// Returns whether kinds are equal; enumerations of 32 and of 64 bits are.
pub(super) fn kinds_agree(a: Kind, b: Kind) -> bool {
    a == b || a.is_enum() && b.is_enum()
}

fn names_agree(local: &Btf, local_type: &Type<'_>, target: &Btf, target_type: &Type<'_>) -> bool {
    let local_name = essential_name(local.string_bytes(local_type.name_off));
    let target_name = essential_name(target.string_bytes(target_type.name_off));
    local_name.is_empty() || target_name.is_empty() || local_name == target_name
}

/// Returns whether two fields are of the same kind; their sizes may differ.
pub(super) fn fields_agree(local: &Btf, mut local_id: u32, target: &Btf, mut target_id: u32) -> bool {
    for _ in 0..MAX_DEPTH {
        let (Some(a), Some(b)) = (local.resolve(local_id), target.resolve(target_id)) else { return false };
        if a.kind.is_composite() && b.kind.is_composite() {
            return true;
        }
        if !kinds_agree(a.kind, b.kind) {
            return false;
        }
        match a.kind {
            Kind::Ptr | Kind::Float => return true,
            Kind::Fwd | Kind::Enum | Kind::Enum64 => return names_agree(local, &a, target, &b),
            // Bit fields of old compilers cannot be compared by their offset in an integer.
            Kind::Int => return a.int_offset() == 0 && b.int_offset() == 0,
            Kind::Array => {
                local_id = a.array().element;
                target_id = b.array().element;
            }
            _ => return false,
        }
    }
    false
}

/// Remaining comparisons: recursive prototypes would be compared without end.
#[derive(Debug)]
pub(super) struct Fuel(u32);

impl Fuel {
    pub(super) const fn full() -> Self {
        Self(100_000)
    }

    fn burn(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 > 0
    }
}

/// Structs are compared by kind only.
pub(super) fn types_agree(
    local: &Btf,
    local_id: u32,
    target: &Btf,
    target_id: u32,
    depth: usize,
    fuel: &mut Fuel,
) -> bool {
    let (a, b) = match (local.resolve(local_id), target.resolve(target_id)) {
        (None, None) => return true,
        (Some(a), Some(b)) => (a, b),
        _ => return false,
    };
    if depth == 0 || !fuel.burn() || !kinds_agree(a.kind, b.kind) {
        return false;
    }
    let mut below = |a: u32, b: u32| types_agree(local, a, target, b, depth - 1, fuel);
    match a.kind {
        Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Fwd => true,
        Kind::Int => a.int_offset() == 0 && b.int_offset() == 0,
        Kind::Ptr => below(a.size_or_type, b.size_or_type),
        Kind::Array => below(a.array().element, b.array().element),
        Kind::FuncProto => {
            a.vlen() == b.vlen()
                && a.params().zip(b.params()).all(|((_, a), (_, b))| below(a, b))
                && below(a.size_or_type, b.size_or_type)
        }
        _ => false,
    }
}

/// `bpf_core_type_matches`: every local member must be in the kernel's type; behind a pointer, names suffice.
pub(super) fn types_match(
    local: &Btf,
    local_id: u32,
    target: &Btf,
    target_id: u32,
    behind_pointer: bool,
    depth: usize,
    fuel: &mut Fuel,
) -> bool {
    let (a, b) = match (local.resolve(local_id), target.resolve(target_id)) {
        (None, None) => return true,
        (Some(a), Some(b)) => (a, b),
        _ => return false,
    };
    if depth == 0 || !fuel.burn() || !names_agree(local, &a, target, &b) {
        return false;
    }
    if a.kind != b.kind {
        // Behind a pointer, a forward declaration stands for its struct or union.
        let declares = |fwd: &Type<'_>, of: &Type<'_>| {
            fwd.kind == Kind::Fwd && of.kind == if fwd.flag() { Kind::Union } else { Kind::Struct }
        };
        return behind_pointer && (declares(&a, &b) || declares(&b, &a))
            || kinds_agree(a.kind, b.kind) && enums_match(local, &a, target, &b);
    }
    let mut below =
        |a: u32, b: u32, pointer: bool| types_match(local, a, target, b, pointer, depth - 1, fuel);
    match a.kind {
        Kind::Fwd => a.flag() == b.flag(),
        Kind::Enum | Kind::Enum64 => enums_match(local, &a, target, &b),
        Kind::Struct | Kind::Union if behind_pointer => true,
        Kind::Struct | Kind::Union => a.members().all(|member| {
            let name = essential_name(local.string_bytes(member.name_off));
            b.members().any(|other| {
                essential_name(target.string_bytes(other.name_off)) == name
                    && below(member.type_id, other.type_id, false)
            })
        }),
        Kind::Int => a.size_or_type == b.size_or_type && (a.int_encoding() & 1) == (b.int_encoding() & 1),
        Kind::Float => a.size_or_type == b.size_or_type,
        Kind::Ptr => below(a.size_or_type, b.size_or_type, true),
        Kind::Array => a.array().len == b.array().len && below(a.array().element, b.array().element, false),
        Kind::FuncProto => {
            a.vlen() == b.vlen()
                && a.params().zip(b.params()).all(|((_, a), (_, b))| below(a, b, false))
                && below(a.size_or_type, b.size_or_type, false)
        }
        _ => false,
    }
}

/// Values of enumerators may differ.
fn enums_match(local: &Btf, a: &Type<'_>, target: &Btf, b: &Type<'_>) -> bool {
    a.enumerators().all(|(name, _)| {
        let name = essential_name(local.string_bytes(name));
        b.enumerators().any(|(other, _)| essential_name(target.string_bytes(other)) == name)
    })
}
