//! An object file, read once.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use bpfmand_core::{MapSpec, ProgramText, ProgramType};

use crate::ObjectError;
use crate::btf::ext::BtfExt;
use crate::btf::{Btf, BtfFeatures, fixup};
use crate::core_relo;
use crate::elf::Elf;
use crate::externs::{Externs, KconfigExtern, KconfigValue};
use crate::functions::Functions;
use crate::globals::{self, GlobalVariable};
use crate::kernel_btf::KernelBtf;
use crate::link::{Linked, Linker, Unresolved};
use crate::maps::{InitialSlot, MapTable};
use crate::needs::{exceeds, needs};
use crate::programs::{ProgramEntry, read_programs};

/// What linking a program depends on besides the object.
#[derive(Clone, Copy, Debug, Default)]
pub struct TextOptions<'a> {
    /// The kernel's types; needed where [`ObjectFile::needs_kernel_btf`] says so.
    pub kernel_btf: Option<&'a KernelBtf>,
    /// What the kernel takes in a program's own BTF.
    pub features: BtfFeatures,
}

/// A parsed object file: its programs, maps and global variables.
#[derive(Debug)]
pub struct ObjectFile {
    pub(crate) elf: Elf,
    pub(crate) btf: Option<Btf>,
    pub(crate) ext: BtfExt,
    pub(crate) functions: Functions,
    pub(crate) externs: Externs,
    pub(crate) maps: MapTable,
    programs: Vec<ProgramEntry>,
    globals: Vec<GlobalVariable>,
    license: String,
    /// The last BTF made for a kernel: all programs of a load share it.
    fixed_btf: Mutex<Option<(BtfFeatures, Arc<[u8]>)>>,
}

impl ObjectFile {
    /// Reads and checks an object file. Bytes are copied once; an `Arc<[u8]>` is taken as it is.
    ///
    /// # Errors
    /// Says what is wrong with the file as a whole: not an eBPF object, damaged, or a map that cannot be read.
    /// What is wrong with one program is told by [`Self::text`] for that program.
    pub fn parse(bytes: impl Into<Arc<[u8]>>) -> Result<Self, ObjectError> {
        let elf = Elf::parse(bytes.into())?;
        let btf = read_btf(&elf)?;
        let ext = match (&btf, elf.section_named(".BTF.ext")) {
            (Some(btf), Some(section)) => BtfExt::parse(elf.section_data(section), btf)?,
            _ => BtfExt::default(),
        };
        let functions = Functions::read(&elf);
        let externs = Externs::read(&elf, btf.as_ref());
        let maps = MapTable::read(&elf, btf.as_ref(), &externs)?;
        let globals = globals::read(&elf, btf.as_ref(), &maps);
        let license = read_license(&elf);
        let mut object = Self {
            elf,
            btf,
            ext,
            functions,
            externs,
            maps,
            programs: Vec::new(),
            globals,
            license,
            fixed_btf: Mutex::new(None),
        };
        object.programs = read_programs(&object);
        Ok(object)
    }

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
    /// are what they are declared as, and a probe is a return probe if either says so.
    ///
    /// # Errors
    /// [`ObjectError::UnknownProgram`], [`ObjectError::UnsupportedSection`] or [`ObjectError::TypeMismatch`].
    pub fn resolve_type(&self, name: &str, declared: ProgramType) -> Result<ProgramType, ObjectError> {
        let program = self.program(name)?;
        let Some(own) = program.family.program_type() else {
            return Err(ObjectError::UnsupportedSection {
                program: name.to_owned(),
                section: program.section.clone(),
            });
        };
        if !program.family.admits(declared) {
            return Err(ObjectError::TypeMismatch {
                program: name.to_owned(),
                declared,
                section: program.section.clone(),
                family: program.family.to_string(),
            });
        }
        let by_declaration = matches!(own, ProgramType::Tc | ProgramType::Tcx) || declared.is_return_probe();
        Ok(if by_declaration { declared } else { own })
    }

    /// All maps: declared ones, then those of global variables. Map references of programs are indexes into it.
    #[must_use]
    pub fn maps(&self) -> &[MapSpec] {
        &self.maps.specs
    }

    /// What the bytes of a map's keys and values mean, in words that are the same for the same shape in any object;
    /// none for maps without types.
    #[must_use]
    pub fn map_shape(&self, map: &MapSpec) -> Option<(String, String)> {
        let btf = self.btf.as_ref()?;
        (map.btf_key_type_id != 0 && map.btf_value_type_id != 0)
            .then(|| (btf.shape(map.btf_key_type_id), btf.shape(map.btf_value_type_id)))
    }

    /// True if the map's values hold lists, trees or pointers to kernel objects: the kernel then ties the map to the BTF that
    /// it was made with, and takes no program of another BTF that uses those.
    #[must_use]
    pub fn map_is_tied(&self, map: &MapSpec) -> bool {
        self.btf.as_ref().is_some_and(|btf| map.btf_value_type_id != 0 && btf.is_tied(map.btf_value_type_id))
    }

    /// Entries that declarations put into maps of maps and arrays of programs.
    #[must_use]
    pub fn initial_slots(&self) -> &[InitialSlot] {
        &self.maps.slots
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
        let mut maps = self.maps.specs.clone();
        globals::write(&self.globals, &mut maps, values)?;
        Ok(maps)
    }

    /// Kernel configuration values that the object asks for.
    #[must_use]
    pub fn kconfig_externs(&self) -> &[KconfigExtern] {
        &self.externs.kconfig
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
        match self.maps.kconfig.and_then(|index| maps.get_mut(index)) {
            Some(map) => self.externs.write_kconfig(map, value_of),
            None => Ok(()),
        }
    }

    /// The object's BTF as a kernel with these features takes it; what map type ids and programs refer to.
    #[must_use]
    pub fn btf(&self, features: BtfFeatures) -> Option<Arc<[u8]>> {
        let btf = self.btf.as_ref().filter(|btf| btf.len() > 0)?;
        // A poisoned lock holds a complete value or none: both are good.
        let mut cached = self.fixed_btf.lock().unwrap_or_else(PoisonError::into_inner);
        match &*cached {
            Some((of, bytes)) if *of == features => Some(Arc::clone(bytes)),
            _ => {
                let bytes: Arc<[u8]> = fixup::fixed(btf, &self.elf, &self.static_programs(), features).into();
                *cached = Some((features, Arc::clone(&bytes)));
                Some(bytes)
            }
        }
    }

    /// Type ids of the functions that are programs though they are static.
    fn static_programs(&self) -> HashSet<u32> {
        let type_id = |program: &ProgramEntry| {
            let records = self.records(program.key).ok().flatten()?;
            Some(records.functions.iter().find(|record| record.offset == program.key.offset)?.type_id)
        };
        self.programs.iter().filter(|program| program.is_static).filter_map(type_id).collect()
    }

    /// True if the program or a function that it reaches refers to the kernel's types, functions or variables.
    ///
    /// False for unknown and damaged programs too: [`Self::text`] tells about those.
    #[must_use]
    pub fn needs_kernel_btf(&self, program: &str) -> bool {
        self.program(program).is_ok_and(|entry| {
            needs(self, entry).is_ok_and(|needs| needs.kernel_types || needs.kernel_symbols)
        })
    }

    /// True if the program or a function that it reaches refers to a type, function or variable that `kernel` has not, and
    /// that a module may have: [`KernelBtf::add_module`].
    #[must_use]
    pub fn exceeds(&self, program: &str, kernel: &KernelBtf) -> bool {
        self.program(program).is_ok_and(|entry| exceeds(self, entry, kernel).unwrap_or(false))
    }

    /// What of the kernel's a program asks for in vain, by the position in [`Self::text`] of the instruction that the
    /// verifier refuses if it can be reached.
    ///
    /// # Errors
    /// As for [`Self::text`].
    pub fn unresolved(
        &self,
        program: &str,
        options: &TextOptions<'_>,
    ) -> Result<Vec<Unresolved>, ObjectError> {
        Ok(self.linked(self.program(program)?, options)?.unresolved)
    }

    /// True if instructions carry ids of the object's own types (`bpf_core_type_id_local`, `bpf_obj_new`): such a
    /// program is tied to its object's BTF, and cannot go into another program's.
    #[must_use]
    pub fn uses_local_type_ids(&self, program: &str) -> bool {
        self.program(program).is_ok_and(|entry| needs(self, entry).is_ok_and(|needs| needs.local_type_ids))
    }

    /// Positions, in [`Self::text`] of the same program, of instructions whose immediate is a type id of the object's own
    /// BTF: who gives the program another BTF has to put the type's id there in their place. Ascending inside functions.
    ///
    /// # Errors
    /// As for [`Self::text`].
    pub fn local_type_ids(
        &self,
        program: &str,
        options: &TextOptions<'_>,
    ) -> Result<Vec<usize>, ObjectError> {
        Ok(self.linked(self.program(program)?, options)?.local_type_ids)
    }

    fn linked(&self, entry: &ProgramEntry, options: &TextOptions<'_>) -> Result<Linked, ObjectError> {
        let types = self
            .btf
            .as_ref()
            .zip(options.kernel_btf)
            .map(|(local, kernel)| core_relo::Resolver::new(local, kernel));
        Linker::new(self, entry, options.kernel_btf, types).link()
    }

    /// Links one program: its own instructions, then the functions that it reaches.
    ///
    /// Only this program and what it reaches is looked at. Sections that are not supported link too: whether a
    /// program may be loaded is for [`Self::resolve_type`] to say.
    ///
    /// # Errors
    /// [`ObjectError::UnknownProgram`]; [`ObjectError::Relocation`] for what cannot be resolved;
    /// [`ObjectError::NeedsKernelBtf`] if that is not given; [`ObjectError::TooManyInstructions`].
    pub fn text(&self, program: &str, options: &TextOptions<'_>) -> Result<ProgramText, ObjectError> {
        let entry = self.program(program)?;
        let linked = self.linked(entry, options)?;
        Ok(ProgramText {
            name: entry.name.clone(),
            license: self.license.clone(),
            insns: linked.insns,
            functions: linked.functions,
            btf: self.btf(options.features),
            func_info: linked.func_info,
            line_info: linked.line_info,
            frags: entry.frags,
            sleepable: entry.sleepable,
            modules: linked.modules,
        })
    }
}

/// Reads `.BTF` after applying the relocations that place variables in their sections.
fn read_btf(elf: &Elf) -> Result<Option<Btf>, ObjectError> {
    let Some(section) = elf.section_named(".BTF") else { return Ok(None) };
    let mut data = elf.section_data(section).to_vec();
    match elf.relocs.get(&section) {
        None => {}
        Some(Err(why)) => return Err(ObjectError::btf(".BTF", why.to_string())),
        Some(Ok(relocs)) => {
            for (offset, reloc) in relocs {
                let outside =
                    || ObjectError::btf(".BTF", format!("a relocation at {offset:#x} has no target"));
                let symbol = elf.symbols.get(reloc.symbol).ok_or_else(outside)?;
                let at = usize::try_from(*offset).map_err(|_| outside())?;
                let place = at.checked_add(4).and_then(|end| data.get_mut(at..end)).ok_or_else(outside)?;
                let before: [u8; 4] = (&*place).try_into().map_err(|_| outside())?;
                let value = u32::from_ne_bytes(before).wrapping_add(symbol.value as u32);
                place.copy_from_slice(&value.to_ne_bytes());
            }
        }
    }
    Btf::parse(data).map(Some)
}

fn read_license(elf: &Elf) -> String {
    let data = elf.section_named("license").map(|section| elf.section_data(section)).unwrap_or_default();
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    String::from_utf8_lossy(&data[..end]).into_owned()
}
