//! Types that tie a map to the BTF it was made with: heads of lists and trees, and pointers to objects.

use super::{Btf, Kind};

/// How deep types are followed: the kernel itself looks no deeper than this for such fields.
const DEPTH: usize = 16;

/// Structs of the kernel that mean contents of a type which the program's BTF describes.
const HEADS: [&str; 2] = ["bpf_list_head", "bpf_rb_root"];

/// Type tags of pointers to objects that a map keeps.
const POINTERS: [&str; 3] = ["kptr", "kptr_untrusted", "percpu_kptr"];

impl Btf {
    /// True if a value of the type holds such a field, itself or in what it is made of.
    pub(crate) fn is_tied(&self, id: u32) -> bool {
        self.holds(id, DEPTH)
    }

    fn holds(&self, id: u32, depth: usize) -> bool {
        let Some(ty) = self.resolve(id).filter(|_| depth > 0) else { return false };
        match ty.kind {
            Kind::Struct if HEADS.contains(&self.name(&ty)) => true,
            Kind::Struct | Kind::Union => ty.members().any(|member| self.holds(member.type_id, depth - 1)),
            Kind::Array => self.holds(ty.array().element, depth - 1),
            Kind::Datasec => ty.sec_infos().any(|variable| self.holds(variable.type_id, depth - 1)),
            Kind::Var => self.holds(ty.size_or_type, depth - 1),
            Kind::Ptr => self.is_tagged(ty.size_or_type),
            _ => false,
        }
    }

    /// True if a pointer to the type is tagged as one to an object. Tags come first, then const and the like.
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
