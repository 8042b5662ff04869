//! An object file, read once.

use std::collections::HashSet;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use bpfmand_core::ProgramText;

use crate::ObjectError;
use crate::btf::contexts::TaggedContexts;
use crate::btf::ext::BtfExt;
use crate::btf::{Btf, BtfFeatures, fixup};
use crate::core_relo;
use crate::elf::Elf;
use crate::externs::Externs;
use crate::facts::{self, ObjectFacts};
use crate::functions::Functions;
use crate::globals;
use crate::kernel_btf::KernelBtf;
use crate::link::{Linked, Linker, Unresolved, WantedAddress};
use crate::maps::MapTable;
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

/// A program, linked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedProgram {
    /// What the kernel takes, but for the maps.
    pub text: ProgramText,
    /// Positions of instructions whose immediate is a type id of the object's own BTF, see [`ObjectFile::local_type_ids`].
    pub local_type_ids: Vec<usize>,
    /// What of the kernel's it asks for in vain.
    pub unresolved: Vec<Unresolved>,
    /// Instructions that want addresses of the kernel's symbols, which are not in the text: see
    /// [`LinkedProgram::set_address`].
    pub addresses: Vec<WantedAddress>,
}

impl LinkedProgram {
    /// Has the instruction that begins at `at`, one of [`LinkedProgram::addresses`], load an address.
    pub fn set_address(&mut self, at: usize, address: u64) {
        if let Some([first, second]) = self.text.insns.get_mut(at..at.saturating_add(2)) {
            first.imm = (address as u32).cast_signed();
            second.imm = ((address >> 32) as u32).cast_signed();
        }
    }
}

/// A parsed object file: its [`ObjectFacts`], and what it takes to link its programs.
#[derive(Debug)]
pub struct ObjectFile {
    pub(crate) elf: Elf,
    pub(crate) btf: Option<Btf>,
    pub(crate) ext: BtfExt,
    pub(crate) functions: Functions,
    pub(crate) externs: Externs,
    pub(crate) maps: MapTable,
    /// What of it is plain data.
    pub(crate) facts: Arc<ObjectFacts>,
    /// What is written behind its BTF for older kernels.
    pub(crate) contexts: TaggedContexts,
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
        // Nobody else has it yet.
        if let Some(facts) = Arc::get_mut(&mut object.facts) {
            facts.programs = programs;
        }
        Ok(object)
    }

    /// The file, as it was given.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.elf.bytes()
    }

    /// What of it is plain data.
    #[must_use]
    pub fn facts(&self) -> &Arc<ObjectFacts> {
        &self.facts
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
                let bytes: Arc<[u8]> =
                    fixup::fixed(btf, &self.elf, &self.static_programs(), &self.contexts, features).into();
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
        self.facts.programs.iter().filter(|program| program.is_static).filter_map(type_id).collect()
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
    /// program may be loaded is for [`ObjectFacts::resolve_type`] to say.
    ///
    /// # Errors
    /// [`ObjectError::UnknownProgram`]; [`ObjectError::Relocation`] for what cannot be resolved;
    /// [`ObjectError::NeedsKernelBtf`] if that is not given; [`ObjectError::TooManyInstructions`].
    pub fn text(&self, program: &str, options: &TextOptions<'_>) -> Result<ProgramText, ObjectError> {
        Ok(self.link(program, options)?.text)
    }

    /// The same, with what else linking comes to.
    ///
    /// # Errors
    /// As for [`Self::text`].
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
