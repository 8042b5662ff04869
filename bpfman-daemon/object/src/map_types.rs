use std::fmt;

use crate::ObjectError;
use crate::btf::{Btf, Kind};
use crate::declared_types::{DeclaredTypes, type_named};
use crate::layout::{FieldLayout, MAX_PARTS, ValueLayout};
use crate::maps::btf_maps;

/// Types of a program, for reading and writing its maps.
#[derive(Clone)]
pub struct ProgramTypes(Btf);

/// Names of types, as in C.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeNames {
    /// `None` if the key type is not declared.
    pub key: Option<String>,
    /// `None` if the value type is not declared.
    pub value: Option<String>,
}

impl fmt::Debug for ProgramTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProgramTypes({} types)", self.0.len())
    }
}

impl ProgramTypes {
    pub fn parse(types: impl Into<Vec<u8>>) -> Result<Self, ObjectError> {
        Ok(Self(Btf::parse(types)?))
    }

    /// Returns the declared types of a map; for global variables (`.bss`) a struct of them.
    #[must_use]
    pub fn declared(&self, map: &str) -> DeclaredTypes {
        if let Some(variables) = self.variables(map) {
            return DeclaredTypes { key: None, value: Some(variables) };
        }
        let layout = |(id, size): (u32, u32)| self.0.layout(id, size as usize, &mut MAX_PARTS.clone());
        let [key, value] = btf_maps::declared_types(&self.0, map).map(|found| found.map(layout));
        DeclaredTypes { key, value }
    }

    /// Returns the declared types of the maps in a map of maps.
    #[must_use]
    pub fn declared_inner(&self, outer: &str) -> DeclaredTypes {
        let layout = |(id, size): (u32, u32)| self.0.layout(id, size as usize, &mut MAX_PARTS.clone());
        let [key, value] = btf_maps::declared_inner_types(&self.0, outer).map(|found| found.map(layout));
        DeclaredTypes { key, value }
    }

    /// Returns the layout of a named type, like [`crate::ObjectFile::type_named`].
    pub fn type_named(&self, name: &str) -> Result<ValueLayout, Vec<String>> {
        type_named(&self.0, name)
    }

    /// Returns the names of the declared types of a map.
    #[must_use]
    pub fn names(&self, map: &str) -> TypeNames {
        if self.variables(map).is_some() {
            return TypeNames { key: None, value: Some("variables".to_owned()) };
        }
        let name = |(id, _): (u32, u32)| self.0.describe(id);
        let [key, value] = btf_maps::declared_types(&self.0, map).map(|found| found.map(name));
        TypeNames { key, value }
    }

    fn variables(&self, section: &str) -> Option<ValueLayout> {
        if !section.starts_with('.') || section == ".maps" {
            return None;
        }
        let btf = &self.0;
        let datasec = btf.types().find(|ty| ty.kind == Kind::Datasec && btf.name(ty) == section)?;
        let mut parts = MAX_PARTS;
        let fields = datasec.sec_infos().filter_map(|info| {
            let variable = btf.get(info.type_id).filter(|ty| ty.kind == Kind::Var)?;
            let layout = btf.layout(variable.size_or_type, info.size as usize, &mut parts);
            Some(FieldLayout { name: btf.name(&variable).to_owned(), offset: info.offset as usize, layout })
        });
        Some(ValueLayout::Struct { bytes: datasec.size_or_type as usize, fields: fields.collect() })
    }
}
