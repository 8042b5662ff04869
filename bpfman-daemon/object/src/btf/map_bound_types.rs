use std::collections::HashSet;

use super::{Btf, Kind};

/// Maximum nesting at which the kernel finds lists, trees and tagged pointers in map values.
const DEPTH: usize = 16;

/// Heads of lists and trees, whose elements have types of the program's BTF.
const HEADS: [&str; 2] = ["bpf_list_head", "bpf_rb_root"];

const POINTERS: [&str; 3] = ["kptr", "kptr_untrusted", "percpu_kptr"];

impl Btf {
    /// Returns whether a type refers to the program's BTF. Visits each type once: a malformed one may contain itself.
    pub(crate) fn is_tied(&self, id: u32) -> bool {
        let (mut level, mut seen) = (vec![id], HashSet::new());
        for _ in 0..DEPTH {
            let mut below = Vec::new();
            for ty in level.into_iter().filter_map(|id| self.resolve(id)).filter(|ty| seen.insert(ty.id)) {
                match ty.kind {
                    Kind::Struct if HEADS.contains(&self.name(&ty)) => return true,
                    Kind::Struct | Kind::Union => below.extend(ty.members().map(|member| member.type_id)),
                    Kind::Array => below.push(ty.array().element),
                    Kind::Datasec => below.extend(ty.sec_infos().map(|variable| variable.type_id)),
                    Kind::Var => below.push(ty.size_or_type),
                    Kind::Ptr if self.is_tagged(ty.size_or_type) => return true,
                    _ => {}
                }
            }
            level = below;
        }
        false
    }

    /// Tags precede const and other modifiers.
    fn is_tagged(&self, mut id: u32) -> bool {
        for _ in 0..DEPTH {
            let Some(ty) = self.get(id).filter(|ty| ty.kind.is_modifier()) else { return false };
            if ty.kind == Kind::TypeTag && POINTERS.contains(&self.name(&ty)) {
                return true;
            }
            id = ty.size_or_type;
        }
        false
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn self_containing(members: u32, name: &str) -> Vec<u8> {
        let strings = [b"\0", name.as_bytes(), b"\0"].concat();
        let name_off = u32::from(!name.is_empty());
        let mut types = vec![0, 4 << 24 | members, 64];
        for _ in 0..members {
            types.extend([name_off, 1, 0]);
        }
        let bytes = types.len() as u32 * 4;
        let mut blob = 0xeb9f_u16.to_ne_bytes().to_vec();
        blob.extend([1, 0]);
        for word in [24, 0, bytes, bytes, strings.len() as u32].iter().chain(&types) {
            blob.extend(word.to_ne_bytes());
        }
        blob.extend(strings);
        blob
    }

    #[test]
    fn struct_that_contains_itself_repeatedly_is_visited_once() {
        let btf = Btf::parse(self_containing(100, "again")).unwrap();
        assert!(!btf.is_tied(1));
    }
}
