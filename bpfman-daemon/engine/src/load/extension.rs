//! Extensions (freplace): finds the function that an extension replaces, by the BTF of the extended program.

use std::collections::BTreeSet;

use bpfman_model::{Owner, ProgramId, ProgramRequest, ProgramType, ProgramUid, ReplacedFunction};
use bpfmand_kernel::{Extends, Kernel, Probe};
use bpfmand_object::{LinkedProgram, ObjectFacts, ProgramFunctions};

use crate::engine::locks::{Guard, Subject};
use crate::error::ExtensionRefusal;
use crate::load::linked::ResolvedProgram;
use crate::state::records::ProgramRecord;
use crate::state::{ExtendedProgram, ExtendsRecord};
use crate::{Engine, EngineError};

#[derive(Clone, Debug)]
pub struct ResolvedExtension {
    pub record: ExtendsRecord,
    pub place: Extends,
    pub of_type: Option<ProgramType>,
    pub of_name: String,
}

pub fn replaced_function(
    object: &ObjectFacts,
    program: &ProgramRequest,
) -> Result<ReplacedFunction, EngineError> {
    let section = object.program(&program.name)?.attach_target.as_deref();
    ReplacedFunction::parse(program.target.as_deref(), section).map_err(|why| {
        let program = program.name.clone();
        ExtensionRefusal::Unnamed { program, why }.into()
    })
}

impl<K: Kernel> Engine<K> {
    /// Finds the function to replace. Fails if it does not exist, cannot be replaced, or has another prototype.
    pub(crate) fn resolve_extension(
        &self,
        linked: &LinkedProgram,
        wanted: &ReplacedFunction,
    ) -> Result<ResolvedExtension, EngineError> {
        let features = self.kernel.features();
        if !features.has(&Probe::FREPLACE) {
            return Err(EngineError::Unsupported(format!(
                "program \"{}\" is of type freplace, and this kernel ({}) lets no program take the place of another's \
                 function: {}",
                linked.text.name,
                features.release_without(&Probe::FREPLACE),
                Probe::FREPLACE.needs
            )));
        }
        let (program, extended) = (linked.text.name.clone(), wanted.program);
        let ours = self.state().program(extended).cloned();
        let target = self.kernel.open_program(extended)?;
        let Some(target) = target.filter(|_| ours.as_ref().is_none_or(|ours| self.is_loaded_now(ours)))
        else {
            return Err(ExtensionRefusal::NoProgram { program, extended }.into());
        };
        let facts = self.kernel.program_of(&target)?;
        let name = ours.as_ref().map_or(facts.name, |ours| ours.name.clone());
        if facts.kernel_type == bpfman_model::uapi::prog_type::EXT {
            return Err(ExtensionRefusal::Recursive { program, extended, name }.into());
        }
        let types = self.kernel.program_btf(&target)?;
        let types =
            types.ok_or_else(|| ExtensionRefusal::NoTypes { whose: format!("{extended} (\"{name}\")") })?;
        let functions = ProgramFunctions::parse(&types)?;
        let function = wanted.function.clone();
        let Some(found) = functions.named(&function) else {
            let there = functions.global_names().into_iter().map(str::to_owned).collect();
            return Err(ExtensionRefusal::NoFunction { program, extended, name, function, there }.into());
        };
        if found.is_static {
            return Err(ExtensionRefusal::Static { extended, name, function }.into());
        }
        let own = own_function(linked)?;
        if let Some(difference) = functions.difference(found.id, &own.0, own.1) {
            let words = |types: &ProgramFunctions, id| types.prototype(id).unwrap_or_default();
            let (own, wanted) = (words(&own.0, own.1), words(&functions, found.id));
            return Err(ExtensionRefusal::Differs { program, own, extended, name, wanted, difference }.into());
        }
        let of =
            ours.as_ref().map_or(ExtendedProgram::Others(extended), |ours| ExtendedProgram::Ours(ours.uid));
        Ok(ResolvedExtension {
            record: ExtendsRecord { program: of, function },
            place: Extends { program: extended, function: found.id },
            of_type: ours.map(|ours| ours.program_type),
            of_name: name,
        })
    }

    /// Returns whether the program is loaded: an id of an earlier boot is not valid.
    fn is_loaded_now(&self, program: &ProgramRecord) -> bool {
        !self.state().lost.contains(&program.uid) && (program.boot.is_empty() || program.boot == self.boot)
    }

    /// Locks the programs that a load extends until it is recorded; `held` is locked by the caller. To prevent a
    /// deadlock, a caller that locks programs of several loads holds the lock of shared maps.
    pub(crate) fn lock_extended(
        &self,
        programs: &[ResolvedProgram],
        (held, replaced): (Option<ProgramUid>, &[ProgramUid]),
        (owner, is_tenant): (&Owner, bool),
    ) -> Result<Vec<Guard>, EngineError> {
        let extensions = || programs.iter().filter_map(|program| Some((program, program.extends.as_ref()?)));
        let uids: BTreeSet<ProgramUid> =
            extensions().filter_map(|(_, extends)| extends.record.program.uid()).collect();
        for (program, extends) in extensions() {
            let (program, extended) = (program.name.clone(), extends.place.program);
            match extends.record.program.uid() {
                Some(uid) if replaced.contains(&uid) => {
                    return Err(ExtensionRefusal::SameLoad { program, extended }.into());
                }
                None if is_tenant => return Err(ExtensionRefusal::NotOwn { program, extended }.into()),
                _ => {}
            }
        }
        let locked = uids.iter().filter(|uid| held != Some(**uid));
        let locked = locked.map(|uid| self.lock(Subject::Program(*uid))).collect();
        for (program, extends) in extensions() {
            let Some(uid) = extends.record.program.uid() else { continue };
            let (program, extended) = (program.name.clone(), extends.place.program);
            let Some(record) = self.record(uid).filter(|record| record.id == extended) else {
                return Err(ExtensionRefusal::NoProgram { program, extended }.into());
            };
            if is_tenant && record.owner() != *owner {
                return Err(ExtensionRefusal::NotOwn { program, extended }.into());
            }
        }
        Ok(locked)
    }

    /// Returns the request to load a program again: the extended program has another id after a reboot.
    pub(crate) fn request_again(&self, program: &ProgramRecord) -> Result<ProgramRequest, EngineError> {
        let request = program.request();
        let Some(extends) = &program.extends else { return Ok(request) };
        let gone = |extended: String| ExtensionRefusal::Gone {
            program: program.name.clone(),
            function: extends.function.clone(),
            extended,
        };
        let id: ProgramId = match extends.program {
            ExtendedProgram::Ours(uid) => match self.record(uid) {
                Some(record) if self.is_loaded_now(&record) => record.id,
                Some(record) => {
                    let why = format!("program \"{}\", which could not be loaded again", record.name);
                    return Err(gone(why).into());
                }
                None => return Err(gone("a program that was unloaded since".to_owned()).into()),
            },
            ExtendedProgram::Others(id) if program.boot == self.boot => id,
            ExtendedProgram::Others(id) => {
                return Err(gone(format!("program {id} of others, which a reboot ended")).into());
            }
        };
        let target = ReplacedFunction { program: id, function: extends.function.clone() };
        Ok(ProgramRequest { target: Some(target.to_string()), ..request })
    }
}

fn own_function(linked: &LinkedProgram) -> Result<(ProgramFunctions, u32), EngineError> {
    let text = &linked.text;
    let none = || ExtensionRefusal::NoTypes { whose: format!("\"{}\"", text.name) };
    let types = text.btf.as_ref().ok_or_else(none)?;
    let first = text.func_info.first().ok_or_else(none)?;
    Ok((ProgramFunctions::parse(types)?, first.type_id))
}
