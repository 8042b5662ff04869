//! What an object says of the types of its maps, for who shows what is in them.

use crate::btf::{Btf, Kind};
use crate::layout::{MOST_PARTS, ValueLayout};
use crate::maps::btf_maps;
use crate::object_file::ObjectFile;

/// What the keys and values of a map are, as far as its declaration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclaredTypes {
    /// None where nothing is said of keys.
    pub key: Option<ValueLayout>,
    /// None where nothing is said of values. Of a ring buffer: its records, if they are all of one type.
    pub value: Option<ValueLayout>,
}

impl ObjectFile {
    /// What is declared of a map's keys and values: `__type(key, …)`, `__type(value, …)`. Ring buffers and perf buffers may
    /// say so too, of their records: the kernel is not told.
    #[must_use]
    pub fn declared_types(&self, map: &str) -> DeclaredTypes {
        let Some(btf) = &self.btf else { return DeclaredTypes::default() };
        let layout = |(id, size): (u32, u32)| btf.layout(id, size as usize, &mut MOST_PARTS.clone());
        let [key, value] = btf_maps::declared_types(btf, map).map(|found| found.map(layout));
        DeclaredTypes { key, value }
    }

    /// What a structure, a typedef or another type with a name is. `struct event` and `event` are the same.
    ///
    /// # Errors
    /// There is none of that name and with a size; the names of all structures then.
    pub fn type_named(&self, name: &str) -> Result<ValueLayout, Vec<String>> {
        self.btf.as_ref().map_or(Err(Vec::new()), |btf| type_named(btf, name))
    }
}

/// A type of these by its name; else the names of all structures.
pub fn type_named(btf: &Btf, name: &str) -> Result<ValueLayout, Vec<String>> {
    let bare = ["struct ", "enum "].iter().find_map(|kind| name.strip_prefix(kind)).unwrap_or(name).trim();
    let is_it = |kind| {
        matches!(kind, Kind::Struct | Kind::Typedef | Kind::Int | Kind::Float | Kind::Enum | Kind::Enum64)
    };
    let found = btf.types().filter(|ty| is_it(ty.kind) && btf.name(ty) == bare);
    let sized = found.filter_map(|ty| Some((ty.id, usize::try_from(btf.size_of(ty.id)?).ok()?)));
    if let Some((id, size)) = sized.filter(|(_, size)| *size > 0).last() {
        return Ok(btf.layout(id, size, &mut MOST_PARTS.clone()));
    }
    let mut names: Vec<String> =
        btf.types().filter(|ty| ty.kind == Kind::Struct).map(|ty| btf.name(&ty).to_owned()).collect();
    names.retain(|name| !name.is_empty());
    names.sort();
    names.dedup();
    Err(names)
}
