//! The programs of a load, linked. Everything that is asked of who reads the object is asked here, and operations do so
//! before they lock anything: it may be in the hands of whoever wrote the object, and take its time.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use bpfmand_core::{LoadTarget, ProgramRequest, ProgramType, SocketHook};
use bpfmand_kernel::{Kernel, ProgramKind};
use bpfmand_object::{LinkedProgram, ObjectFacts};

use crate::engine::kept_texts::{LoadedText, TextKeeper};
use crate::engine::kernel_types::KernelTypes;
use crate::engine::map_sizes::MapSizes;
use crate::engine::members::is_tied;
use crate::engine::objects::EbpfObject;
use crate::load::extension::{ResolvedExtension, replaced_function};
use crate::load::kernel_types::attach_id;
use crate::load::struct_ops::{check_whole, member_number, member_of};
use crate::state::BlobId;
use crate::state::records::{DeclaredBytes, KeptText};
use crate::{Engine, EngineError};

/// A program of a load, which was looked up in its object and linked.
#[derive(Debug)]
pub struct ResolvedProgram {
    /// Function name.
    pub name: String,
    /// Exact type.
    pub program_type: ProgramType,
    /// As the kernel takes it, but for the maps.
    pub linked: LinkedProgram,
    /// Function or hook of fentry, fexit and LSM programs.
    pub target: Option<String>,
    /// The kernel's BTF id of it, else 0.
    pub attach_btf_id: u32,
    /// The module that has it; none for the kernel itself.
    pub attach_module: Option<String>,
    /// The number of the member that it is for, of a structure of functions.
    pub member: Option<u32>,
    /// The function of another program whose place it takes, if it is an extension.
    pub extends: Option<ResolvedExtension>,
}

impl ResolvedProgram {
    /// What the kernel has to know of its kind.
    pub fn kind(&self) -> ProgramKind {
        let kind = ProgramKind::new(self.program_type, self.target.as_deref());
        // The kernel takes it in the place of an attach type.
        self.member.map_or(kind, |member| ProgramKind { expected_attach_type: member, ..kind })
    }
}

/// An object whose programs are linked: whoever read it is asked no more. What it says of itself is its own.
pub struct LinkedLoad<'k> {
    object: EbpfObject,
    /// The object's types, if its maps have some.
    pub btf: Option<Arc<[u8]>>,
    /// In the order of the request.
    pub programs: Vec<ResolvedProgram>,
    /// The kernel's.
    pub types: KernelTypes<'k>,
}

impl LinkedLoad<'_> {
    /// Numbers of entries that are not those of the object, by map.
    pub fn map_sizes(&self) -> &BTreeMap<String, u32> {
        self.object.sizes()
    }

    /// True if it is about more than its own: maps that others share by name, or programs that it extends.
    pub fn holds_several(&self) -> bool {
        self.maps().iter().any(|map| map.pin_by_name)
            || self.programs.iter().any(|program| program.extends.is_some())
    }

    /// Bytes that its maps take.
    pub fn declared(&self) -> DeclaredBytes {
        DeclaredBytes::of(self.maps())
    }

    /// True if its maps take no more than so much.
    pub fn declares_no_more_than(&self, at_load: DeclaredBytes) -> bool {
        self.declared().is_within(at_load)
    }
}

impl Deref for LinkedLoad<'_> {
    type Target = ObjectFacts;

    fn deref(&self) -> &ObjectFacts {
        &self.object
    }
}

impl<K: Kernel> Engine<K> {
    /// Has an object read and programs of it linked. Maps have other numbers of entries where `sizes` says so.
    ///
    /// # Errors
    /// What is wrong with the object or with one of the programs; nobody is there to read it.
    pub(crate) fn link_load(
        &self,
        bytes: Arc<[u8]>,
        programs: &[ProgramRequest],
        sizes: &MapSizes,
    ) -> Result<LinkedLoad<'_>, EngineError> {
        let object = self.options.objects.read(bytes)?.sized(sizes)?;
        check_whole(&object, programs)?;
        self.link_object(object, programs)
    }

    /// Has programs of an object linked.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn link_object(
        &self,
        object: EbpfObject,
        programs: &[ProgramRequest],
    ) -> Result<LinkedLoad<'_>, EngineError> {
        let resolved = programs
            .iter()
            .map(|program| {
                let program_type = object.resolve_type(&program.name, program.program_type)?;
                Ok((program_type, load_target(&object, program, program_type)?))
            })
            .collect::<Result<Vec<_>, EngineError>>()?;
        let names: Vec<&str> = programs.iter().map(|program| program.name.as_str()).collect();
        // Modules have functions and trace points; hooks of LSM are the kernel's own.
        let wanted: Vec<_> = resolved
            .iter()
            .filter_map(|(kind, target)| Some((kind.load_target()?, target.as_deref()?)))
            .filter(|(kind, _)| !matches!(kind, LoadTarget::SocketHook | LoadTarget::ProgramFunction))
            .collect();
        let mut needs_types = !wanted.is_empty();
        for name in &names {
            needs_types = needs_types || object.needs_kernel_types(name)?;
        }
        let types =
            if needs_types { self.kernel_types_for(&object, &names, &wanted)? } else { self.kernel_types() };
        let features = self.btf_features();
        let mut programs = programs
            .iter()
            .zip(resolved)
            .map(|(program, (program_type, target))| {
                let (attach_btf_id, attach_module) = match &target {
                    Some(target) if needs_types => {
                        attach_id(&program.name, program_type, target, types.btf()?)?
                    }
                    _ => (0, None),
                };
                let member = match &target {
                    Some(target) if program_type == ProgramType::StructOps => {
                        Some(member_number(&program.name, target, types.btf()?)?)
                    }
                    _ => None,
                };
                let linked = object.link(&program.name, needs_types.then_some(&types), features)?;
                let extends = match program_type {
                    ProgramType::Freplace => {
                        Some(self.resolve_extension(&linked, &replaced_function(&object, program)?)?)
                    }
                    _ => None,
                };
                let name = program.name.clone();
                Ok(ResolvedProgram {
                    name,
                    program_type,
                    linked,
                    target,
                    attach_btf_id,
                    attach_module,
                    member,
                    extends,
                })
            })
            .collect::<Result<Vec<_>, EngineError>>()?;
        self.set_addresses(&mut programs)?;
        let typed = object.maps().iter().any(|spec| spec.btf_key_type_id != 0 || spec.btf_value_type_id != 0);
        let typed = typed || !object.struct_ops.is_empty();
        let btf = if typed { object.btf(features)? } else { None };
        object.finish();
        Ok(LinkedLoad { object, btf, programs, types })
    }

    /// Keeps the texts of those that chains can join. Answers each program's, and all files that were written: the caller
    /// keeps all bytecode on disk meanwhile, and drops what no record needs in the end.
    pub(crate) fn keep_texts(&self, load: &LinkedLoad<'_>) -> (Vec<Option<KeptText>>, Vec<BlobId>) {
        let mut keeper = TextKeeper::new(&self.blobs);
        let keep = |program: &ResolvedProgram| {
            let (text, local_type_ids) = (&program.linked.text, &program.linked.local_type_ids[..]);
            let text = LoadedText { text, needs_own_btf: is_tied(load, text), local_type_ids };
            program.program_type.is_chained().then(|| keeper.keep(text)).flatten()
        };
        let texts = load.programs.iter().map(keep).collect();
        (texts, keeper.into_files())
    }
}

/// What a program is for: as the request says, else as its section says.
fn load_target(
    object: &ObjectFacts,
    program: &ProgramRequest,
    program_type: ProgramType,
) -> Result<Option<String>, EngineError> {
    let Some(kind) = program_type.load_target() else { return Ok(None) };
    if kind == LoadTarget::ProgramFunction {
        return replaced_function(object, program).map(|function| Some(function.to_string()));
    }
    let asked = program.target.clone().filter(|target| !target.is_empty());
    let named = match kind {
        LoadTarget::StructMember => asked.or(member_of(object, &program.name)?),
        _ => asked.or(object.program(&program.name)?.attach_target.clone()),
    };
    let Some(target) = named else {
        return Err(EngineError::Invalid(format!(
            "program \"{}\" of type {program_type} needs the name of the {} it is for{}",
            program.name,
            kind.name(),
            hooks_in_words(program_type),
        )));
    };
    if kind == LoadTarget::SocketHook && SocketHook::named(program_type, &target).is_none() {
        return Err(EngineError::Invalid(format!(
            "program \"{}\" is for the hook \"{target}\", which type {program_type} does not have{}",
            program.name,
            hooks_in_words(program_type),
        )));
    }
    Ok(Some(target))
}

/// The hooks that a type has, if it has a list of them.
fn hooks_in_words(program_type: ProgramType) -> String {
    let names: Vec<_> = SocketHook::of_type(program_type).iter().map(|hook| hook.name).collect();
    if names.is_empty() { String::new() } else { format!(": one of {}", names.join(", ")) }
}
