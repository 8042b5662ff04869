use std::collections::HashSet;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use bpfman_model::ProgramText;

use crate::ObjectError;
use crate::btf::contexts::TaggedContexts;
use crate::btf::ext::{self, BtfExt};
use crate::btf::{Btf, BtfFeatures, fixup};
use crate::core_relo;
use crate::elf::{Elf, SymbolPlace};
use crate::externs::Externs;
use crate::facts::{self, ObjectFacts};
use crate::functions::Functions;
use crate::globals;
use crate::kernel_btf::KernelBtf;
use crate::link::{Linked, Linker, Unresolved, WantedAddress};
use crate::maps::MapTable;
use crate::needs::{needs, needs_module_types};
use crate::programs::{ProgramEntry, read_programs};

/// Inputs of linking besides the object.
#[derive(Clone, Copy, Debug, Default)]
pub struct TextOptions<'a> {
    /// Types of the kernel; required if [`ObjectFile::needs_kernel_btf`].
    pub kernel_btf: Option<&'a KernelBtf>,
    /// BTF features of the kernel for a program's own BTF.
    pub features: BtfFeatures,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedProgram {
    /// Text in the form that the kernel loads, except for map references.
    pub text: ProgramText,
    /// Indexes of instructions with a type id of the object's own BTF, see [`ObjectFile::local_type_ids`].
    pub local_type_ids: Vec<usize>,
    /// References that the kernel lacks.
    pub unresolved: Vec<Unresolved>,
    /// Instructions that need addresses of kernel symbols: see [`LinkedProgram::set_address`].
    pub addresses: Vec<WantedAddress>,
}

impl LinkedProgram {
    /// Sets the address that the instruction at `at`, one of [`LinkedProgram::addresses`], loads.
    pub fn set_address(&mut self, at: usize, address: u64) {
        if let Some([first, second]) = self.text.insns.get_mut(at..at.saturating_add(2)) {
            first.imm = (address as u32).cast_signed();
            second.imm = ((address >> 32) as u32).cast_signed();
        }
    }
}

/// Parsed object file: its [`ObjectFacts`], and the data for linking its programs.
#[derive(Debug)]
pub struct ObjectFile {
    pub(crate) elf: Elf,
    pub(crate) btf: Option<Btf>,
    pub(crate) ext: BtfExt,
    pub(crate) functions: Functions,
    pub(crate) externs: Externs,
    pub(crate) maps: MapTable,
    pub(crate) facts: Arc<ObjectFacts>,
    pub(crate) contexts: TaggedContexts,
    /// Shared by all programs of a load.
    fixed_btf: Mutex<Option<(BtfFeatures, Arc<[u8]>)>>,
}

/// Returns a warning as one line of a log, since names of an object can be long.
fn shortened(warning: &str) -> String {
    warning.chars().filter(|character| !character.is_control()).take(250).collect()
}

impl ObjectFile {
    /// Parses and checks an object file (`Arc<[u8]>`: no copy). [`Self::text`] reports defects of one program.
    pub fn parse(bytes: impl Into<Arc<[u8]>>) -> Result<Self, ObjectError> {
        let elf = Elf::parse(bytes.into())?;
        let mut warnings = Vec::new();
        let btf = match read_btf(&elf) {
            Err(error) if !needs_types(&elf) => {
                warnings.push(shortened(&format!("its types are left out: {error}")));
                None
            }
            btf => btf?,
        };
        let ext = match (&btf, debug_records(&elf)) {
            (Some(btf), Some(records)) => match BtfExt::parse(records, btf) {
                Err(error) if !ext::has_relocations(records) => {
                    warnings.push(shortened(&format!(
                        "its source lines and the types of its functions are left out: {error}"
                    )));
                    BtfExt::default()
                }
                ext => ext?,
            },
            _ => BtfExt::default(),
        };
        let functions = Functions::read(&elf);
        let externs = Externs::read(&elf, btf.as_ref());
        let mut maps = MapTable::read(&elf, btf.as_ref(), &externs)?;
        let globals = globals::read(&elf, btf.as_ref(), &maps);
        let facts = ObjectFacts {
            programs: Vec::new(),
            types: facts::types_of(&maps.specs, btf.as_ref()),
            slots: std::mem::take(&mut maps.slots),
            struct_ops: std::mem::take(&mut maps.struct_ops),
            kconfig: maps.kconfig.map(|map| (map, externs.kconfig.clone())),
            maps: std::mem::take(&mut maps.specs),
            globals,
            license: read_license(&elf),
            warnings,
        };
        let mut object = Self {
            elf,
            btf,
            ext,
            functions,
            externs,
            maps,
            facts: Arc::new(facts),
            contexts: TaggedContexts::default(),
            fixed_btf: Mutex::new(None),
        };
        let programs = read_programs(&object);
        if let Some(btf) = &object.btf {
            let types = programs.iter().filter_map(|program| program.family.program_type());
            object.contexts = TaggedContexts::of(btf, types);
        }
        if let Some(facts) = Arc::get_mut(&mut object.facts) {
            facts.programs = programs;
        }
        Ok(object)
    }

    /// Returns the bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.elf.bytes()
    }

    /// Returns the facts as plain data.
    #[must_use]
    pub fn facts(&self) -> &Arc<ObjectFacts> {
        &self.facts
    }

    /// Returns the object's BTF for a kernel with these features; map type ids and programs refer to it.
    #[must_use]
    pub fn btf(&self, features: BtfFeatures) -> Option<Arc<[u8]>> {
        let btf = self.btf.as_ref().filter(|btf| btf.len() > 0)?;
        // A poisoned lock holds a complete value or none: both are valid.
        let mut cached = self.fixed_btf.lock().unwrap_or_else(PoisonError::into_inner);
        match &*cached {
            Some((of, bytes)) if *of == features => Some(Arc::clone(bytes)),
            _ => {
                let bytes: Arc<[u8]> =
                    fixup::fixed(btf, &self.elf, &self.static_programs(), &self.contexts, features).into();
                *cached = Some((features, Arc::clone(&bytes)));
                Some(bytes)
            }
        }
    }

    fn static_programs(&self) -> HashSet<u32> {
        let type_id = |program: &ProgramEntry| {
            let records = self.records(program.key).ok().flatten()?;
            Some(records.functions.iter().find(|record| record.offset == program.key.offset)?.type_id)
        };
        self.facts.programs.iter().filter(|program| program.is_static).filter_map(type_id).collect()
    }

    /// Returns whether a valid program refers to the kernel's types, functions or variables.
    #[must_use]
    pub fn needs_kernel_btf(&self, program: &str) -> bool {
        self.program(program).is_ok_and(|entry| {
            needs(self, entry).is_ok_and(|needs| needs.kernel_types || needs.kernel_symbols)
        })
    }

    /// Returns whether the program needs something that only a module may have: [`KernelBtf::add_module`].
    #[must_use]
    pub fn needs_module_types(&self, program: &str, kernel: &KernelBtf) -> bool {
        self.program(program).is_ok_and(|entry| needs_module_types(self, entry, kernel).unwrap_or(false))
    }

    /// Returns the references that the kernel lacks; the verifier refuses their instructions if reachable.
    pub fn unresolved(
        &self,
        program: &str,
        options: &TextOptions<'_>,
    ) -> Result<Vec<Unresolved>, ObjectError> {
        Ok(self.linked(self.program(program)?, options)?.unresolved)
    }

    /// Returns whether instructions hold ids of the object's own types, which prevents splicing.
    #[must_use]
    pub fn uses_local_type_ids(&self, program: &str) -> bool {
        self.program(program).is_ok_and(|entry| needs(self, entry).is_ok_and(|needs| needs.local_type_ids))
    }

    /// Returns the instructions with type ids of the object's own BTF, to be changed together; ascending within
    /// functions.
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

    /// Links one program with the functions that it reaches; only these are read. Unsupported sections link too: see
    /// [`ObjectFacts::resolve_type`].
    ///
    /// # Errors
    /// [`ObjectError::UnknownProgram`]; [`ObjectError::Relocation`]; [`ObjectError::NeedsKernelBtf`];
    /// [`ObjectError::TooManyInstructions`].
    pub fn text(&self, program: &str, options: &TextOptions<'_>) -> Result<ProgramText, ObjectError> {
        Ok(self.link(program, options)?.text)
    }

    /// Links one program, with all other results; fails as [`Self::text`].
    pub fn link(&self, program: &str, options: &TextOptions<'_>) -> Result<LinkedProgram, ObjectError> {
        let entry = self.program(program)?;
        let linked = self.linked(entry, options)?;
        Ok(LinkedProgram {
            text: ProgramText {
                name: entry.name.clone(),
                license: self.license().to_owned(),
                insns: linked.insns,
                functions: linked.functions,
                btf: self.btf(options.features),
                func_info: linked.func_info,
                line_info: linked.line_info,
                frags: entry.frags,
                sleepable: entry.sleepable,
                modules: linked.modules,
                jump_tables: linked.jump_tables,
            },
            local_type_ids: linked.local_type_ids,
            unresolved: linked.unresolved,
            addresses: linked.addresses,
        })
    }
}

impl Deref for ObjectFile {
    type Target = ObjectFacts;

    fn deref(&self) -> &ObjectFacts {
        &self.facts
    }
}

/// Returns the object's BTF, after relocations that place variables in their sections.
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

fn debug_records(elf: &Elf) -> Option<&[u8]> {
    elf.section_named(".BTF.ext").map(|section| elf.section_data(section))
}

/// Returns whether the object needs types: for maps, kernel variables, struct_ops or relocations by type.
fn needs_types(elf: &Elf) -> bool {
    let has_section = elf.sections.iter().any(|section| {
        section.name == ".maps" || section.name.trim_start_matches('?').starts_with(".struct_ops")
    });
    let is_missing =
        elf.symbols.iter().any(|symbol| symbol.place == SymbolPlace::Undefined && !symbol.name.is_empty());
    has_section || is_missing || debug_records(elf).is_some_and(ext::has_relocations)
}

fn read_license(elf: &Elf) -> String {
    let data = elf.section_named("license").map(|section| elf.section_data(section)).unwrap_or_default();
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    String::from_utf8_lossy(&data[..end]).into_owned()
}
