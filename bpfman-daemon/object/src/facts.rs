use std::collections::BTreeMap;

use bpfman_model::{LoadValues, MapRole, MapSpec, ProgramType, map_type};

use crate::ObjectError;
use crate::btf::Btf;
use crate::check::check_slots;
use crate::externs::{self, KconfigExtern, KconfigValue};
use crate::globals::{self, GlobalVariable};
use crate::maps::{InitialSlot, StructOpsMap};
use crate::programs::ProgramEntry;
use crate::shown::cut;

/// Maximum size of the texts of variables, in bytes.
const MAX_TEXTS: usize = 4 << 10;

/// Facts about an object file, all that a load depends on. From another process, they must pass [`Self::check`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectFacts {
    /// Programs, in the order of the file.
    pub programs: Vec<ProgramEntry>,
    /// Maps: declared ones, then those of global variables.
    pub maps: Vec<MapSpec>,
    /// Types of the maps, one entry per map.
    pub types: Vec<MapTypes>,
    /// Entries that declarations put into maps of maps and arrays of programs.
    pub slots: Vec<InitialSlot>,
    /// Global variables, by name.
    pub globals: Vec<GlobalVariable>,
    /// Licence; empty if there is none.
    pub license: String,
    /// Index of the map of kernel configuration values, and its variables.
    pub kconfig: Option<(usize, Vec<KconfigExtern>)>,
    pub struct_ops: Vec<StructOpsMap>,
    /// Damaged parts that are left out, since no program needs them.
    pub warnings: Vec<String>,
}

/// Types of a map's keys and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapTypes {
    /// Layout of key and value as text: [`ObjectFacts::map_shape`].
    pub shape: Option<(String, String)>,
    /// Set if the kernel ties the map to its BTF: [`ObjectFacts::map_is_tied`].
    pub is_tied: bool,
}

/// Bytes of all maps' layout texts: real objects need some kilobytes, and an object reader may send 4 MiB in total.
const WORDS: usize = 1 << 20;

pub(crate) fn types_of(maps: &[MapSpec], btf: Option<&Btf>) -> Vec<MapTypes> {
    let mut left = WORDS;
    let types = |map: &MapSpec| {
        let Some(btf) = btf else { return MapTypes::default() };
        let is_typed = map.btf_key_type_id != 0 && map.btf_value_type_id != 0;
        let shape = (is_typed && left > 0)
            .then(|| (btf.shape(map.btf_key_type_id), btf.shape(map.btf_value_type_id)));
        left = left.saturating_sub(shape.as_ref().map_or(0, |(key, value)| key.len() + value.len()));
        MapTypes { shape, is_tied: map.btf_value_type_id != 0 && btf.is_tied(map.btf_value_type_id) }
    };
    maps.iter().map(types).collect()
}

impl ObjectFacts {
    /// Returns all programs, including those of unsupported sections, in the order of the file.
    #[must_use]
    pub fn programs(&self) -> &[ProgramEntry] {
        &self.programs
    }

    /// Returns a program by name. [`ObjectError::UnknownProgram`]; [`ObjectError::AmbiguousProgram`].
    pub fn program(&self, name: &str) -> Result<&ProgramEntry, ObjectError> {
        let mut named = self.programs.iter().filter(|program| program.name == name);
        let found = named.next().ok_or_else(|| ObjectError::UnknownProgram {
            name: name.to_owned(),
            available: self.programs.iter().map(|program| program.name.clone()).collect(),
        })?;
        match named.next() {
            None => Ok(found),
            Some(second) => Err(ObjectError::AmbiguousProgram {
                name: name.to_owned(),
                sections: [&found.section, &second.section].map(String::clone),
            }),
        }
    }

    /// Returns the type as which a program is loaded: that of its section. `tc`, `tcx` and unknown sections follow the
    /// declaration. A probe is a return probe if its section or its declaration is one.
    ///
    /// # Errors
    /// [`ObjectError::UnknownProgram`], [`ObjectError::UnsupportedSection`] or [`ObjectError::TypeMismatch`].
    pub fn resolve_type(&self, name: &str, declared: ProgramType) -> Result<ProgramType, ObjectError> {
        let program = self.program(name)?;
        let (name, section) = (name.to_owned(), program.section.clone());
        let own = match (program.family.program_type(), program.family.admits(declared)) {
            (None, false) => {
                return Err(ObjectError::UnsupportedSection { program: name, declared, section });
            }
            (Some(_), false) => {
                let family = program.family.to_string();
                return Err(ObjectError::TypeMismatch { program: name, declared, section, family });
            }
            (own, true) => own.unwrap_or(declared),
        };
        let by_declaration = matches!(own, ProgramType::Tc | ProgramType::Tcx) || declared.is_return_probe();
        Ok(if by_declaration { declared } else { own })
    }

    /// Returns all maps: declared ones, then those of global variables. Programs refer to maps by index.
    #[must_use]
    pub fn maps(&self) -> &[MapSpec] {
        &self.maps
    }

    /// Returns the layout of a map's keys and values as text, equal for equal layouts in any object.
    #[must_use]
    pub fn map_shape(&self, map: &MapSpec) -> Option<&(String, String)> {
        // Only maps of global variables can share a name.
        self.types.get(self.maps.iter().position(|known| known.name == map.name)?)?.shape.as_ref()
    }

    /// Returns whether values contain lists, trees or pointers to kernel objects: the kernel ties the map to its BTF.
    #[must_use]
    pub fn map_is_tied(&self, map: usize) -> bool {
        self.types.get(map).is_some_and(|types| types.is_tied)
    }

    /// Returns the entries that declarations put into maps of maps and arrays of programs.
    #[must_use]
    pub fn initial_slots(&self) -> &[InitialSlot] {
        &self.slots
    }

    /// Returns all global variables, by name.
    #[must_use]
    pub fn globals(&self) -> &[GlobalVariable] {
        &self.globals
    }

    /// Returns the object's licence; empty if it has none.
    #[must_use]
    pub fn license(&self) -> &str {
        &self.license
    }

    /// Returns the maps with other initial values of global variables. The text of programs does not depend on them.
    /// A `.bss` map that is no longer all zero becomes [`bpfman_model::MapRole::Data`].
    ///
    /// # Errors
    /// [`ObjectError::UnknownGlobal`] with the existing names, [`ObjectError::GlobalSize`] with both sizes, or
    /// [`ObjectError::AmbiguousGlobal`] if two static variables share a name.
    pub fn with_globals(&self, values: &BTreeMap<String, Vec<u8>>) -> Result<Vec<MapSpec>, ObjectError> {
        let mut maps = self.maps.clone();
        globals::write(&self.globals, &mut maps, values)?;
        Ok(maps)
    }

    /// Returns the size of a global variable, in bytes; fails if there is not exactly one.
    pub fn global_size(&self, name: &str) -> Result<usize, ObjectError> {
        Ok(globals::find(&self.globals, name)?.size)
    }

    /// Returns values as bytes, from bytes and texts, which take precedence: `100`, `eth0`, `[1, 2]`, `{"rate": 5}`.
    pub fn global_bytes(
        &self,
        bytes: &BTreeMap<String, Vec<u8>>,
        values: &LoadValues,
    ) -> Result<BTreeMap<String, Vec<u8>>, ObjectError> {
        let mut all = bytes.clone();
        for (name, text) in &values.globals {
            let given = globals::bytes_of(&self.globals, &self.maps, (name, text), values.by_type_only)?;
            all.insert(name.clone(), given);
        }
        Ok(all)
    }

    /// Returns texts of the values that are numbers, booleans or enumerations, to be stored beside the bytes; none if
    /// the texts exceed 4 KiB together.
    #[must_use]
    pub fn global_texts(&self, values: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, String> {
        let text = |(name, bytes): (&String, &Vec<u8>)| {
            let global = globals::find(&self.globals, name).ok()?;
            Some((name.clone(), globals::text_of(&global.layout, bytes)?))
        };
        let texts: BTreeMap<String, String> = values.iter().filter_map(text).collect();
        let size: usize = texts.iter().map(|(name, text)| name.len() + text.len()).sum();
        if size > MAX_TEXTS { BTreeMap::new() } else { texts }
    }

    /// Returns whether the object declares a map of that name.
    #[must_use]
    pub fn declares_map(&self, name: &str) -> bool {
        self.maps.iter().any(|map| map.role == MapRole::Ordinary && map.name == name)
    }

    /// Returns the object with other numbers of entries of declared maps, by name.
    pub fn with_map_sizes(&self, sizes: &BTreeMap<String, u32>) -> Result<Self, ObjectError> {
        let mut sized = self.clone();
        for (name, entries) in sizes {
            let wrong = |why: String| ObjectError::Map { map: name.clone(), why };
            if !self.declares_map(name) && self.maps.iter().any(|map| map.name == *name) {
                let why = "it holds global variables, and is as large as they are: its size cannot be set";
                return Err(wrong(why.to_owned()));
            }
            let declared = |map: &&mut MapSpec| map.role == MapRole::Ordinary && map.name == *name;
            let Some(map) = sized.maps.iter_mut().find(declared) else {
                let declared = self.maps.iter().filter(|map| map.role == MapRole::Ordinary);
                let available = declared.map(|map| map.name.clone()).collect();
                return Err(ObjectError::UnknownMap { name: cut(name), available });
            };
            if map_type::has_no_entries(map.map_type) {
                return Err(wrong("the kernel sizes maps of its type by what they belong to".to_owned()));
            }
            if *entries == 0 {
                return Err(wrong("it cannot have 0 entries: give it 1 or more".to_owned()));
            }
            if map_type::is_ring(map.map_type) && *entries > map_type::MAX_RING_BYTES {
                let most = map_type::MAX_RING_BYTES;
                return Err(wrong(format!(
                    "a ring buffer has at most {most} bytes, and {entries} are asked for"
                )));
            }
            map.max_entries = *entries;
            check_slots(&sized.maps, &sized.slots)
                .map_err(|what| wrong(format!("with {entries} entries the object {what}")))?;
        }
        Ok(sized)
    }

    /// Returns the kernel configuration values that the object needs.
    #[must_use]
    pub fn kconfig_externs(&self) -> &[KconfigExtern] {
        self.kconfig.as_ref().map_or(&[], |(_, externs)| externs)
    }

    /// Sets `.kconfig` values among `maps`, a copy of [`Self::maps`]. Fails if a required value is missing.
    pub fn set_kconfig(
        &self,
        maps: &mut [MapSpec],
        value_of: impl FnMut(&KconfigExtern) -> Option<KconfigValue>,
    ) -> Result<(), ObjectError> {
        let Some((index, externs)) = &self.kconfig else { return Ok(()) };
        maps.get_mut(*index).map_or(Ok(()), |map| externs::write_kconfig(externs, map, value_of))
    }
}
