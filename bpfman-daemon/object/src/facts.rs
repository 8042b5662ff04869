//! What an object file says of itself as plain data: what a load is decided by, whoever read the file.

use std::collections::BTreeMap;

use bpfmand_core::{LoadValues, MapRole, MapSpec, ProgramType, map_type};

use crate::ObjectError;
use crate::btf::Btf;
use crate::check::check_slots;
use crate::externs::{self, KconfigExtern, KconfigValue};
use crate::globals::{self, GlobalVariable};
use crate::maps::{InitialSlot, StructOpsMap};
use crate::programs::ProgramEntry;
use crate::shown::cut;

/// What an object file says of itself.
///
/// Who has it from another process checks it first: [`Self::check`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectFacts {
    /// All programs, in the order of the file.
    pub programs: Vec<ProgramEntry>,
    /// All maps: declared ones, then those of global variables.
    pub maps: Vec<MapSpec>,
    /// What the types of each map say: one entry a map.
    pub types: Vec<MapTypes>,
    /// Entries that declarations put into maps of maps and arrays of programs.
    pub slots: Vec<InitialSlot>,
    /// All global variables, by name.
    pub globals: Vec<GlobalVariable>,
    /// The licence; empty if there is none.
    pub license: String,
    /// The map of kernel configuration values, and what it holds.
    pub kconfig: Option<(usize, Vec<KconfigExtern>)>,
    /// Maps that hold structures of functions for the kernel.
    pub struct_ops: Vec<StructOpsMap>,
}

/// What the types of a map's keys and values say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapTypes {
    /// Key and value in words: [`ObjectFacts::map_shape`].
    pub shape: Option<(String, String)>,
    /// The kernel ties it to its BTF: [`ObjectFacts::map_is_tied`].
    pub is_tied: bool,
}

/// Bytes of words for all maps together: real objects take some kilobytes. Maps behind that have none. It is a part of what
/// a process that reads objects may say of one in all, which is 4 MiB.
const WORDS: usize = 1 << 20;

/// What the types of all maps say.
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
    /// All programs, those of unsupported sections too, in the order of the file.
    #[must_use]
    pub fn programs(&self) -> &[ProgramEntry] {
        &self.programs
    }

    /// The program of a name.
    ///
    /// # Errors
    /// [`ObjectError::UnknownProgram`] with the names there are, or [`ObjectError::AmbiguousProgram`] if several static
    /// functions share the name.
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

    /// The type that a program loads as when declared as `declared`: its section's, except that `tc` and `tcx`
    /// are what they are declared as, a probe is a return probe if either says so, and a section that nobody knows says
    /// nothing.
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

    /// All maps: declared ones, then those of global variables. Map references of programs are indexes into it.
    #[must_use]
    pub fn maps(&self) -> &[MapSpec] {
        &self.maps
    }

    /// What the bytes of a map's keys and values mean, in words that are the same for the same shape in any object;
    /// none for maps without types, and for those of other objects.
    #[must_use]
    pub fn map_shape(&self, map: &MapSpec) -> Option<&(String, String)> {
        // No two maps of others than global variables share a name.
        self.types.get(self.maps.iter().position(|known| known.name == map.name)?)?.shape.as_ref()
    }

    /// True if the values of the map at this place hold lists, trees or pointers to kernel objects: the kernel then ties the
    /// map to the BTF that it was made with, and takes no program of another BTF that uses those.
    #[must_use]
    pub fn map_is_tied(&self, map: usize) -> bool {
        self.types.get(map).is_some_and(|types| types.is_tied)
    }

    /// Entries that declarations put into maps of maps and arrays of programs.
    #[must_use]
    pub fn initial_slots(&self) -> &[InitialSlot] {
        &self.slots
    }

    /// All global variables, by name.
    #[must_use]
    pub fn globals(&self) -> &[GlobalVariable] {
        &self.globals
    }

    /// The object's licence; empty if it states none.
    #[must_use]
    pub fn license(&self) -> &str {
        &self.license
    }

    /// The maps with other first values of global variables. Text does not depend on them.
    ///
    /// A `.bss` map that is no longer all zero becomes [`bpfmand_core::MapRole::Data`].
    ///
    /// # Errors
    /// [`ObjectError::UnknownGlobal`] with the names there are, [`ObjectError::GlobalSize`] with both sizes, or
    /// [`ObjectError::AmbiguousGlobal`] if two static variables share a name.
    pub fn with_globals(&self, values: &BTreeMap<String, Vec<u8>>) -> Result<Vec<MapSpec>, ObjectError> {
        let mut maps = self.maps.clone();
        globals::write(&self.globals, &mut maps, values)?;
        Ok(maps)
    }

    /// Bytes of a global variable.
    ///
    /// # Errors
    /// There is none of that name, or more than one.
    pub fn global_size(&self, name: &str) -> Result<usize, ObjectError> {
        Ok(globals::find(&self.globals, name)?.size)
    }

    /// Values of global variables as bytes: those that are given so, and those that somebody wrote as text, which count
    /// where there are both: `100`, `true`, `eth0`, `[1, 2]`, `{"rate": 5}` by the variable's type, or its bytes as
    /// hexadecimal digits.
    ///
    /// # Errors
    /// [`ObjectError::GlobalText`] with what is wrong where, and those of [`Self::with_globals`] about names.
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

    /// True if the object declares a map of that name.
    #[must_use]
    pub fn declares_map(&self, name: &str) -> bool {
        self.maps.iter().any(|map| map.role == MapRole::Ordinary && map.name == name)
    }

    /// The same object with other numbers of entries of its declared maps, by name.
    ///
    /// # Errors
    /// [`ObjectError::UnknownMap`] with the names there are; [`ObjectError::Map`] for a map that cannot have so many or
    /// so few, or that has no number of entries.
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
            if map_type::is_ring(map.map_type) && *entries > map_type::MOST_RING_BYTES {
                let most = map_type::MOST_RING_BYTES;
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

    /// Kernel configuration values that the object asks for.
    #[must_use]
    pub fn kconfig_externs(&self) -> &[KconfigExtern] {
        self.kconfig.as_ref().map_or(&[], |(_, externs)| externs)
    }

    /// Puts kernel configuration values into the `.kconfig` map among `maps`, a copy of [`Self::maps`].
    ///
    /// # Errors
    /// [`ObjectError::Kconfig`] if a variable that is not weak has no value, or one that does not fit.
    pub fn set_kconfig(
        &self,
        maps: &mut [MapSpec],
        value_of: impl FnMut(&KconfigExtern) -> Option<KconfigValue>,
    ) -> Result<(), ObjectError> {
        let Some((index, externs)) = &self.kconfig else { return Ok(()) };
        maps.get_mut(*index).map_or(Ok(()), |map| externs::write_kconfig(externs, map, value_of))
    }
}
