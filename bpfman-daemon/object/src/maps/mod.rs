//! Maps of an object: declared ones first, then those of its global variables.

pub(crate) mod btf_maps;
mod data_sections;
mod legacy_maps;
mod slots;
mod struct_ops;

use std::collections::HashMap;

use bpfman_model::{MapRole, MapSpec};

pub use slots::{InitialSlot, SlotTarget};
pub(crate) use struct_ops::check_struct_ops;
pub use struct_ops::{StructOpsMap, StructOpsMember, StructOpsValue};

use crate::ObjectError;
use crate::btf::Btf;
use crate::check::is_map_name;
use crate::elf::Elf;
use crate::externs::Externs;

/// Maximum number of maps of an object. A program can use 64.
pub(crate) const MAX_MAPS: usize = 4096;
/// Maximum length of a map's name, which becomes a file name.
pub(crate) const MAX_MAP_NAME: usize = 255;

#[derive(Debug, Default)]
pub(crate) struct MapTable {
    pub specs: Vec<MapSpec>,
    pub slots: Vec<InitialSlot>,
    pub struct_ops: Vec<StructOpsMap>,
    /// By section and byte offset.
    by_place: HashMap<(usize, u64), usize>,
    by_name: HashMap<String, usize>,
    values_at: HashMap<usize, u64>,
    by_section: HashMap<usize, usize>,
    pub kconfig: Option<usize>,
}

impl MapTable {
    pub(crate) fn read(elf: &Elf, btf: Option<&Btf>, externs: &Externs) -> Result<Self, ObjectError> {
        let mut table = Self::default();
        let datasecs = btf.map(Btf::datasecs).unwrap_or_default();
        for (section, header) in elf.sections.iter().enumerate() {
            if header.name == ".maps" {
                let btf = btf.ok_or_else(|| {
                    let why = if elf.symbols.iter().all(|symbol| symbol.name.is_empty()) {
                        "the object has no symbol table and no type information (BTF): strip removed them; `strip -g` \
                         (llvm-strip -g) keeps both"
                    } else {
                        "declared with type information (BTF) that the object lacks: build with -g"
                    };
                    ObjectError::map(".maps", why)
                })?;
                btf_maps::read(&mut table, elf, btf, &datasecs, section)?;
            } else if header.name == "maps" || header.name.starts_with("maps/") {
                legacy_maps::read(&mut table, elf, section)?;
            }
        }
        struct_ops::read(&mut table, elf, btf, &datasecs)?;
        data_sections::read(&mut table, elf, btf, &datasecs)?;
        if externs.kconfig_bytes() > 0 {
            table.kconfig = Some(table.specs.len());
            table.specs.push(data_sections::kconfig(externs.kconfig_bytes()));
        }
        slots::read(&mut table, elf)?;
        Ok(table)
    }

    fn add(&mut self, section: usize, offset: u64, spec: MapSpec) -> Result<(), ObjectError> {
        if self.specs.len() >= MAX_MAPS {
            return Err(ObjectError::map(
                spec.name,
                format!("the object declares more than {MAX_MAPS} maps"),
            ));
        }
        // A static variable in a function is named after it: `count.hits`.
        if spec.role == MapRole::Ordinary && spec.name.contains('.') {
            let why = "a map is declared outside of functions: its name shows that this one is a static variable of one";
            return Err(ObjectError::map(spec.name, why));
        }
        if spec.role == MapRole::Ordinary && !is_map_name(&spec.name) {
            return Err(ObjectError::map(
                spec.name,
                format!("a map's name has 1 to {MAX_MAP_NAME} letters, digits and underscores"),
            ));
        }
        if self.by_name.insert(spec.name.clone(), self.specs.len()).is_some() {
            return Err(ObjectError::map(spec.name, "declared twice"));
        }
        if self.by_place.insert((section, offset), self.specs.len()).is_some() {
            return Err(ObjectError::map(spec.name, "shares its place with another map"));
        }
        self.specs.push(spec);
        Ok(())
    }

    pub(crate) fn declared(&self, section: usize, offset: u64) -> Option<usize> {
        self.by_place.get(&(section, offset)).copied()
    }

    pub(crate) fn data_section(&self, section: usize) -> Option<usize> {
        self.by_section.get(&section).copied()
    }

    pub(crate) fn data_sections(&self) -> impl Iterator<Item = (usize, usize)> {
        let mut all: Vec<(usize, usize)> = self.by_section.iter().map(|(a, b)| (*a, *b)).collect();
        all.sort_unstable();
        all.into_iter()
    }
}

fn blank(name: String) -> MapSpec {
    MapSpec::sized(&name, 0, 0, 0, 0)
}
