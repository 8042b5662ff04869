//! Links the programs of a load. All calls to the object reader happen here, before an operation acquires locks: the
//! reader may be controlled by the author of a malicious object, and may be slow.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use bpfmand_core::{LoadTarget, ProgramRequest, ProgramType, SocketHook};
use bpfmand_kernel::{Kernel, ProgramKind};
use bpfmand_object::{LinkedProgram, ObjectFacts};

use crate::engine::kernel_types::KernelTypes;
use crate::engine::map_sizes::MapSizes;
use crate::engine::members::is_tied;
use crate::engine::objects::EbpfObject;
use crate::engine::stored_texts::{LoadedText, TextWriter};
use crate::load::extension::{ResolvedExtension, replaced_function};
use crate::load::kernel_types::attach_id;
use crate::load::struct_ops::{check_whole, member_number, member_of};
use crate::state::BlobId;
use crate::state::records::{DeclaredBytes, KeptText};
use crate::{Engine, EngineError};

/// A linked program of a load.
#[derive(Debug)]
pub struct ResolvedProgram {
    /// Function name.
    pub name: String,
    /// Exact type.
    pub program_type: ProgramType,
    /// Linked program, complete except for map references.
    pub linked: LinkedProgram,
    /// Load target, such as the function or hook of fentry, fexit and LSM programs.
    pub target: Option<String>,
    /// BTF id of the target in the kernel; 0 if it has none.
    pub attach_btf_id: u32,
    /// Module that defines the target; none for the kernel itself.
    pub attach_module: Option<String>,
    /// Index of the struct_ops member that the program implements.
    pub member: Option<u32>,
    /// Function that the program replaces, if it is an extension.
    pub extends: Option<ResolvedExtension>,
}

impl ResolvedProgram {
    /// Returns the program type as the kernel needs it.
    pub fn kind(&self) -> ProgramKind {
        let kind = ProgramKind::new(self.program_type, self.target.as_deref());
        // For struct_ops, the kernel expects the member index in the attach type field.
        self.member.map_or(kind, |member| ProgramKind { expected_attach_type: member, ..kind })
    }
}

/// An object with linked programs. The object reader is finished; the object's facts are its own claims.
pub struct LinkedLoad<'k> {
    object: EbpfObject,
    /// BTF of the object, if a map needs it.
    pub btf: Option<Arc<[u8]>>,
    /// Linked programs, in the order of the request.
    pub programs: Vec<ResolvedProgram>,
    /// Types of the kernel.
    pub types: KernelTypes<'k>,
}

impl LinkedLoad<'_> {
    /// Returns the numbers of entries that differ from the object's, by map.
    pub fn map_sizes(&self) -> &BTreeMap<String, u32> {
        self.object.sizes()
    }

    /// Returns whether the load involves objects beyond its own: maps shared by name, or programs that it extends.
    pub fn holds_several(&self) -> bool {
        self.maps().iter().any(|map| map.pin_by_name)
            || self.programs.iter().any(|program| program.extends.is_some())
    }

    /// Returns the bytes that the maps declare.
    pub fn declared(&self) -> DeclaredBytes {
        DeclaredBytes::of(self.maps())
    }

    /// Returns whether the maps declare no more than `at_load`.
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
    /// Reads an object and links its programs. `sizes` overrides numbers of map entries. Fails if the object or one of
    /// the programs is invalid, or no object reader is available.
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

    /// Links programs of an object that was read. Errors: those of [`Self::link_load`].
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
        // Functions and trace points may be defined by modules; LSM hooks belong to the kernel itself.
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

    /// Keeps the texts of programs that chains can join. Returns the text of each program and all files that were
    /// written. The caller prevents the removal of bytecode meanwhile, and drops files that no record uses.
    pub(crate) fn keep_texts(&self, load: &LinkedLoad<'_>) -> (Vec<Option<KeptText>>, Vec<BlobId>) {
        let mut keeper = TextWriter::new(&self.blobs);
        let keep = |program: &ResolvedProgram| {
            let (text, local_type_ids) = (&program.linked.text, &program.linked.local_type_ids[..]);
            let text = LoadedText { text, needs_own_btf: is_tied(load, text), local_type_ids };
            program.program_type.is_chained().then(|| keeper.keep(text)).flatten()
        };
        let texts = load.programs.iter().map(keep).collect();
        (texts, keeper.into_files())
    }
}

/// Returns the load target of a program: from the request, or else from its section.
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

fn hooks_in_words(program_type: ProgramType) -> String {
    let names: Vec<_> = SocketHook::of_type(program_type).iter().map(|hook| hook.name).collect();
    if names.is_empty() { String::new() } else { format!(": one of {}", names.join(", ")) }
}
