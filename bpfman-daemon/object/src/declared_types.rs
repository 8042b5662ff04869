use crate::btf::{Btf, Kind};
use crate::layout::{MAX_PARTS, ValueLayout};
use crate::maps::btf_maps;
use crate::object_file::ObjectFile;

/// Declared types of a map's keys and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclaredTypes {
    /// `None` if the key type is not declared.
    pub key: Option<ValueLayout>,
    /// `None` if the value type is not declared. For a ring buffer: its records, if all of one type.
    pub value: Option<ValueLayout>,
}

impl ObjectFile {
    /// Returns `__type(key, …)` and `__type(value, …)`; of ring and perf buffers the record type.
    #[must_use]
    pub fn declared_types(&self, map: &str) -> DeclaredTypes {
        let Some(btf) = &self.btf else { return DeclaredTypes::default() };
        let layout = |(id, size): (u32, u32)| btf.layout(id, size as usize, &mut MAX_PARTS.clone());
        let [key, value] = btf_maps::declared_types(btf, map).map(|found| found.map(layout));
        DeclaredTypes { key, value }
    }

    /// Returns the layout of a named type (`struct event` or `event`), or the names of all structs.
    pub fn type_named(&self, name: &str) -> Result<ValueLayout, Vec<String>> {
        self.btf.as_ref().map_or(Err(Vec::new()), |btf| type_named(btf, name))
    }
}

pub fn type_named(btf: &Btf, name: &str) -> Result<ValueLayout, Vec<String>> {
    let bare = ["struct ", "enum "].iter().find_map(|kind| name.strip_prefix(kind)).unwrap_or(name).trim();
    let is_it = |kind| {
        matches!(kind, Kind::Struct | Kind::Typedef | Kind::Int | Kind::Float | Kind::Enum | Kind::Enum64)
    };
    let found = btf.types().filter(|ty| is_it(ty.kind) && btf.name(ty) == bare);
    let sized = found.filter_map(|ty| Some((ty.id, usize::try_from(btf.size_of(ty.id)?).ok()?)));
    if let Some((id, size)) = sized.filter(|(_, size)| *size > 0).last() {
        return Ok(btf.layout(id, size, &mut MAX_PARTS.clone()));
    }
    let mut names: Vec<String> =
        btf.types().filter(|ty| ty.kind == Kind::Struct).map(|ty| btf.name(&ty).to_owned()).collect();
    names.retain(|name| !name.is_empty());
    names.sort();
    names.dedup();
    Err(names)
}
