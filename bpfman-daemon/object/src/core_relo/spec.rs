use std::collections::HashSet;

use super::CoreError;
use super::compat::{Fuel, fields_agree, types_agree, types_match};
use super::value::RelocKind;
use crate::btf::{Btf, Kind, MAX_DEPTH, Type};
use crate::kernel_btf::essential_name;

/// The limit of libbpf.
const MAX_STEPS: usize = 64;

#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Type with the member, or of the element.
    pub type_id: u32,
    pub index: u32,
    pub named: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub root: u32,
    pub steps: Vec<Step>,
    /// From the start of the root, in bits.
    pub bit_offset: u64,
}

impl Spec {
    pub(super) fn parse(btf: &Btf, root: u32, path: &str, kind: RelocKind) -> Result<Self, CoreError> {
        let bad = |why| CoreError::Path { path: path.to_owned(), root, why };
        let numbers: Vec<u32> = path
            .split(':')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| bad("it is not made of numbers"))?;
        if numbers.len() > MAX_STEPS {
            return Err(bad("it is too long"));
        }
        let first = numbers[0];
        let mut spec = Self { root, steps: Vec::new(), bit_offset: 0 };
        if kind.is_about_types() {
            return if numbers == [0] { Ok(spec) } else { Err(bad("it should end at the type itself")) };
        }
        if kind.is_about_enumerators() {
            let ty =
                btf.resolve(root).filter(|ty| ty.kind.is_enum()).ok_or_else(|| bad("not an enumeration"))?;
            if numbers.len() != 1 || first >= ty.vlen() {
                return Err(bad("no such enumerator"));
            }
            spec.steps.push(Step { type_id: ty.id, index: first, named: true });
            return Ok(spec);
        }

        // A pointer to the root may point into an array: the first number counts whole values.
        let mut ty = btf.resolve(root).ok_or_else(|| bad("no such type"))?;
        let size = btf.size_of(ty.id).ok_or_else(|| bad("its type has no size"))?;
        spec.steps.push(Step { type_id: ty.id, index: first, named: false });
        spec.advance(u64::from(first), size).ok_or_else(|| bad("too large"))?;
        for number in &numbers[1..] {
            let next = match ty.kind {
                Kind::Struct | Kind::Union => {
                    let member = ty.members().nth(*number as usize).ok_or_else(|| bad("no such member"))?;
                    spec.bit_offset += u64::from(member.bit_offset);
                    if !btf.string(member.name_off).is_empty() {
                        spec.steps.push(Step { type_id: ty.id, index: *number, named: true });
                    }
                    member.type_id
                }
                Kind::Array => {
                    let array = ty.array();
                    let element = btf.resolve(array.element).ok_or_else(|| bad("an array of nothing"))?;
                    if *number >= array.len && !is_flexible(btf, &spec, &ty) {
                        return Err(bad("no such element"));
                    }
                    let size = btf.size_of(element.id).ok_or_else(|| bad("its element has no size"))?;
                    spec.steps.push(Step { type_id: element.id, index: *number, named: false });
                    spec.advance(u64::from(*number), size).ok_or_else(|| bad("too large"))?;
                    array.element
                }
                _ => return Err(bad("it goes on inside a type without parts")),
            };
            ty = btf.resolve(next).ok_or_else(|| bad("no such type"))?;
        }
        Ok(spec)
    }

    fn advance(&mut self, count: u64, size: u64) -> Option<()> {
        let bits = count.checked_mul(size)?.checked_mul(8)?;
        self.bit_offset = self.bit_offset.checked_add(bits)?;
        Some(())
    }

    pub(super) fn matching(
        &self,
        local: &Btf,
        target: &Btf,
        candidate: u32,
        kind: RelocKind,
    ) -> Result<Option<Self>, CoreError> {
        let mut spec = Self { root: candidate, steps: Vec::new(), bit_offset: 0 };
        if kind.is_about_types() {
            let fuel = &mut Fuel::full();
            let same = if kind == RelocKind::TypeMatches {
                types_match(local, self.root, target, candidate, false, MAX_DEPTH, fuel)
            } else {
                types_agree(local, self.root, target, candidate, MAX_DEPTH, fuel)
            };
            return Ok(same.then_some(spec));
        }
        if kind.is_about_enumerators() {
            let Some(step) = self.steps.first() else { return Ok(None) };
            let wanted = local
                .get(step.type_id)
                .and_then(|ty| ty.enumerators().nth(step.index as usize))
                .map_or(&[][..], |(name, _)| essential_name(local.string_bytes(name)));
            let found = target.resolve(candidate).filter(|ty| ty.kind.is_enum()).and_then(|ty| {
                let index = ty
                    .enumerators()
                    .position(|(name, _)| essential_name(target.string_bytes(name)) == wanted)?;
                Some(Step { type_id: ty.id, index: u32::try_from(index).ok()?, named: true })
            });
            return Ok(found.map(|step| {
                spec.steps.push(step);
                spec
            }));
        }

        let mut at = candidate;
        for (number, step) in self.steps.iter().enumerate() {
            let Some(ty) = target.resolve(at) else { return Ok(None) };
            if step.named {
                let Some(member) =
                    local.get(step.type_id).and_then(|ty| ty.members().nth(step.index as usize))
                else {
                    return Err(CoreError::NoMember(step.type_id, step.index));
                };
                let Some((found, offset, type_id)) =
                    find_member(target, &ty, local.string_bytes(member.name_off))
                else {
                    return Ok(None);
                };
                if !fields_agree(local, member.type_id, target, type_id) {
                    return Ok(None);
                }
                spec.bit_offset += offset;
                spec.steps.push(found);
                at = type_id;
                continue;
            }
            // The first step is the root itself; later ones go into the elements of an array.
            let element = if number == 0 {
                ty
            } else {
                if ty.kind != Kind::Array || step.index >= ty.array().len && !is_flexible(target, &spec, &ty)
                {
                    return Ok(None);
                }
                match target.resolve(ty.array().element) {
                    Some(element) => element,
                    None => return Ok(None),
                }
            };
            let advanced =
                target.size_of(element.id).and_then(|size| spec.advance(u64::from(step.index), size));
            if advanced.is_none() {
                return Ok(None);
            }
            spec.steps.push(Step { type_id: element.id, index: step.index, named: false });
            at = element.id;
        }
        Ok(Some(spec))
    }
}

/// A flexible array is the last member of its struct, with at most one element.
fn is_flexible(btf: &Btf, spec: &Spec, array: &Type<'_>) -> bool {
    let Some(step) = spec.steps.last().filter(|step| step.named) else { return false };
    array.array().len <= 1
        && btf.get(step.type_id).is_some_and(|ty| ty.kind == Kind::Struct && step.index + 1 == ty.vlen())
}

fn find_member(btf: &Btf, ty: &Type<'_>, name: &[u8]) -> Option<(Step, u64, u32)> {
    find_member_in(btf, ty, name, 0, &mut HashSet::new())
}

/// Searches each type once: malformed BTF can make a type contain itself many times.
fn find_member_in(
    btf: &Btf,
    ty: &Type<'_>,
    name: &[u8],
    depth: usize,
    seen: &mut HashSet<u32>,
) -> Option<(Step, u64, u32)> {
    if depth > MAX_DEPTH || !ty.kind.is_composite() || !seen.insert(ty.id) {
        return None;
    }
    ty.members().enumerate().find_map(|(index, member)| {
        let offset = u64::from(member.bit_offset);
        let own = btf.string_bytes(member.name_off);
        if own.is_empty() {
            let inside = btf.resolve(member.type_id)?;
            let (step, deeper, type_id) = find_member_in(btf, &inside, name, depth + 1, seen)?;
            return Some((step, offset + deeper, type_id));
        }
        let step = Step { type_id: ty.id, index: u32::try_from(index).ok()?, named: true };
        (own == name).then_some((step, offset, member.type_id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::map_bound_types::tests::self_containing;

    #[test]
    fn a_member_is_looked_for_once_in_each_type() {
        let btf = Btf::parse(self_containing(100, "")).unwrap();
        let ty = btf.get(1).unwrap();
        assert!(find_member(&btf, &ty, b"nowhere").is_none());
    }
}
