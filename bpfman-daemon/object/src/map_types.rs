//! What a program's types say of its maps, as the kernel keeps them.

use std::fmt;

use crate::ObjectError;
use crate::btf::{Btf, Kind};
use crate::declared_types::{DeclaredTypes, type_named};
use crate::layout::{FieldLayout, MOST_PARTS, ValueLayout};
use crate::maps::btf_maps;

/// The types of a program, for who reads and writes what is in its maps.
#[derive(Clone)]
pub struct ProgramTypes(Btf);

/// Names of types, as in C.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeNames {
    /// None where nothing is said of keys.
    pub key: Option<String>,
    /// None where nothing is said of values.
    pub value: Option<String>,
}

impl fmt::Debug for ProgramTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProgramTypes({} types)", self.0.len())
    }
}

impl ProgramTypes {
    /// Reads types as the kernel has them.
    ///
    /// # Errors
    /// They are damaged.
    pub fn parse(types: impl Into<Vec<u8>>) -> Result<Self, ObjectError> {
        Ok(Self(Btf::parse(types)?))
    }

    /// What a map's keys and values are, by its declaration. The value of a map of global variables (`.bss`) is a structure
    /// of them.
    #[must_use]
    pub fn declared(&self, map: &str) -> DeclaredTypes {
        if let Some(variables) = self.variables(map) {
            return DeclaredTypes { key: None, value: Some(variables) };
        }
        let layout = |(id, size): (u32, u32)| self.0.layout(id, size as usize, &mut MOST_PARTS.clone());
        let [key, value] = btf_maps::declared_types(&self.0, map).map(|found| found.map(layout));
        DeclaredTypes { key, value }
    }

    /// What is declared of the maps that a map of maps holds.
    #[must_use]
    pub fn declared_inner(&self, outer: &str) -> DeclaredTypes {
        let layout = |(id, size): (u32, u32)| self.0.layout(id, size as usize, &mut MOST_PARTS.clone());
        let [key, value] = btf_maps::declared_inner_types(&self.0, outer).map(|found| found.map(layout));
        DeclaredTypes { key, value }
    }

    /// What a structure, a typedef or another type with a name is, as [`crate::ObjectFile::type_named`].
    ///
    /// # Errors
    /// There is none of that name and with a size; the names of all structures then.
    pub fn type_named(&self, name: &str) -> Result<ValueLayout, Vec<String>> {
        type_named(&self.0, name)
    }

    /// The same as names.
    #[must_use]
    pub fn names(&self, map: &str) -> TypeNames {
        if self.variables(map).is_some() {
            return TypeNames { key: None, value: Some("variables".to_owned()) };
        }
        let name = |(id, _): (u32, u32)| self.0.describe(id);
        let [key, value] = btf_maps::declared_types(&self.0, map).map(|found| found.map(name));
        TypeNames { key, value }
    }

    /// The variables of a section, as fields of a structure.
    fn variables(&self, section: &str) -> Option<ValueLayout> {
        if !section.starts_with('.') || section == ".maps" {
            return None;
        }
        let btf = &self.0;
        let datasec = btf.types().find(|ty| ty.kind == Kind::Datasec && btf.name(ty) == section)?;
        let mut parts = MOST_PARTS;
        let fields = datasec.sec_infos().filter_map(|info| {
            let variable = btf.get(info.type_id).filter(|ty| ty.kind == Kind::Var)?;
            let layout = btf.layout(variable.size_or_type, info.size as usize, &mut parts);
            Some(FieldLayout { name: btf.name(&variable).to_owned(), offset: info.offset as usize, layout })
        });
        Some(ValueLayout::Struct { bytes: datasec.size_or_type as usize, fields: fields.collect() })
    }
}
