use super::{Btf, Kind, MAX_DEPTH};

impl Btf {
    /// Returns why a type has no size, as the rest of a sentence that begins with "it".
    pub(crate) fn why_no_size(&self, pointer: u32) -> String {
        let Some(ty) = self.get(pointer).filter(|ty| ty.kind == Kind::Ptr) else {
            return "is not a pointer to a type with a size".to_owned();
        };
        let mut passed = Vec::new();
        let mut id = ty.size_or_type;
        while passed.len() <= MAX_DEPTH {
            let Some(ty) = self.get(id).filter(|_| id != 0) else {
                return format!("leads to type {id}, which does not exist or is void");
            };
            let name = self.name(&ty);
            if passed.contains(&id) {
                return format!("leads to type {id} ({name}), which is defined by itself: a cycle");
            }
            passed.push(id);
            id = match ty.kind {
                Kind::Array => ty.array().element,
                Kind::Typedef | Kind::Var => ty.size_or_type,
                kind if kind.is_modifier() => ty.size_or_type,
                kind => return format!("leads to type {id} ({name}), a {kind:?}, whose values have no size"),
            };
        }
        format!("is a pointer through more than {MAX_DEPTH} types")
    }
}
