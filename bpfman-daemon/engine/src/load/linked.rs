//! Links the programs of a load. All calls to the object reader happen here, before an operation acquires locks: a
//! malicious object may control the reader, and it may be slow.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use bpfman_model::{LoadRequest, LoadTarget, ProgramRequest, ProgramType, SocketHook};
use bpfmand_kernel::{Kernel, ProgramKind};
use bpfmand_object::{LinkedProgram, ObjectFacts};

use crate::engine::kernel_types::KernelTypes;
use crate::engine::map_sizes::MapSizes;
use crate::engine::members::is_tied;
use crate::engine::objects::{EbpfObject, LinkAhead};
use crate::engine::stored_texts::{LoadedText, TextWriter};
use crate::load::extension::{ResolvedExtension, replaced_function};
use crate::load::kernel_types::attach_id;
use crate::load::struct_ops::{check_whole, member_number, member_of};
use crate::state::BlobId;
use crate::state::records::{DeclaredBytes, KeptText};
use crate::{Engine, EngineError};

#[derive(Debug)]
pub struct ResolvedProgram {
    pub name: String,
    pub program_type: ProgramType,
    pub linked: LinkedProgram,
    pub target: Option<String>,
    pub attach_btf_id: u32,
    pub attach_module: Option<String>,
    pub member: Option<u32>,
    pub extends: Option<ResolvedExtension>,
}

impl ResolvedProgram {
    pub fn kind(&self) -> ProgramKind {
        let kind = ProgramKind::new(self.program_type, self.target.as_deref());
        // For struct_ops, the kernel expects the member index in the attach type field.
        self.member.map_or(kind, |member| ProgramKind { expected_attach_type: member, ..kind })
    }
}

/// Linked programs of an object. The object's facts are its own claims, which nothing proves.
pub struct LinkedLoad<'k> {
    object: EbpfObject,
    pub btf: Option<Arc<[u8]>>,
    pub programs: Vec<ResolvedProgram>,
    pub types: KernelTypes<'k>,
}

impl LinkedLoad<'_> {
    /// Releases the reader now: otherwise its end, and the next reader's start, would compete with the load for CPUs.
    pub(crate) fn without_reader(self) -> Self {
        self.release_reader();
        self
    }

    pub(crate) fn release_reader(&self) {
        self.object.finish();
    }

    pub fn map_sizes(&self) -> &BTreeMap<String, u32> {
        self.object.sizes()
    }

    pub fn holds_several(&self) -> bool {
        self.maps().iter().any(|map| map.pin_by_name)
            || self.programs.iter().any(|program| program.extends.is_some())
    }

    pub fn declared(&self) -> DeclaredBytes {
        DeclaredBytes::of(self.maps())
    }

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

impl LinkedLoad<'_> {
    /// Refuses a return probe that was declared, and allowed, as an ordinary probe.
    pub fn check_returns_by_section(&self, load: &LoadRequest) -> Result<(), EngineError> {
        let mut pairs = self.programs.iter().zip(&load.programs);
        let returns = pairs.find(|(linked, declared)| {
            linked.program_type.is_return_probe() && !declared.program_type.is_return_probe()
        });
        match returns.filter(|_| load.limits.no_returns_by_section) {
            None => Ok(()),
            Some((linked, declared)) => Err(EngineError::Denied(format!(
                "program \"{}\" is declared as {}, and is of type {} by its section, which \"types\" of the grant does not name",
                declared.name, declared.program_type, linked.program_type
            ))),
        }
    }
}

impl<K: Kernel> Engine<K> {
    pub(crate) fn link_load(
        &self,
        bytes: Arc<[u8]>,
        programs: &[ProgramRequest],
        sizes: &MapSizes,
    ) -> Result<LinkedLoad<'_>, EngineError> {
        let names = programs.iter().map(|program| program.name.clone()).collect();
        let ahead = LinkAhead { programs: names, features: self.btf_features() };
        let object = self.options.objects.read_ahead(bytes, &ahead)?.sized(sizes)?;
        check_whole(&object, programs)?;
        self.link_object(object, programs)
    }

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
        Ok(LinkedLoad { object, btf, programs, types })
    }

    /// Stores the texts, and returns them with all written files. The caller prevents the removal of bytecode meanwhile,
    /// and removes files that it does not record.
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
