//! Attaching extensions, which replace a function of another program. Chain members are copies that an extension does
//! not affect: an extended program must run by itself.

use std::sync::Arc;

use bpfman_model::{
    AttachPoint, HookKey, HookKind, Interface, LinkId, ProgramId, ProgramType, ProgramUid, RankOrder,
};
use bpfmand_kernel::{Extends, Kernel, LinkTarget};
use bpfmand_object::ProgramFunctions;

use crate::chain::build::Joined;
use crate::engine::locks::{Guard, Subject};
use crate::error::ExtensionRefusal;
use crate::state::records::{LinkRecord, ProgramRecord, Strategy};
use crate::state::{ExtendedProgram, ExtendsRecord, State};
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Locks the program that an extension is for, and its hooks. The caller holds shared maps
    /// ([`Engine::lock_extended`]) and the extension.
    pub(super) fn hold_extended(&self, program: &ProgramRecord) -> Result<Vec<Guard>, EngineError> {
        let Some(extends) = &program.extends else { return Ok(Vec::new()) };
        let mut held = Vec::new();
        if let ExtendedProgram::Ours(uid) = extends.program {
            held.push(self.lock(Subject::Program(uid)));
            if let Some(extended) = self.record(uid) {
                let (links, hooks) = self.lock_links(std::slice::from_ref(&extended));
                held.extend(hooks);
                self.ensure_runs_itself(&extended, &links)?;
            }
        }
        self.ensure_not_taken(program, extends)?;
        Ok(held)
    }

    fn ensure_runs_itself(
        &self,
        extended: &ProgramRecord,
        links: &[Arc<LinkRecord>],
    ) -> Result<(), EngineError> {
        let chain = |link: &LinkRecord| link.hook.filter(|key| !matches!(key.kind, HookKind::Tcx(_)));
        for key in links.iter().filter_map(|link| chain(link)) {
            let Some(hook) = self.state().hooks.get(&key).cloned() else { continue };
            if hook.strategy != Strategy::Direct {
                return Err(ExtensionRefusal::InChain {
                    extended: extended.id,
                    name: extended.name.clone(),
                    hook: key.kind.at(&hook.interface),
                    strategy: match hook.strategy {
                        Strategy::Dispatcher => "dispatcher of libxdp",
                        _ => "chain",
                    },
                }
                .into());
            }
        }
        Ok(())
    }

    fn ensure_not_taken(&self, program: &ProgramRecord, extends: &ExtendsRecord) -> Result<(), EngineError> {
        let state = self.state();
        let other = |link: &&Arc<LinkRecord>| {
            let other = state.programs.get(&link.program);
            link.program != program.uid
                && link.point == AttachPoint::Freplace
                && other.is_some_and(|other| other.extends.as_ref() == Some(extends))
        };
        let others = extends.program.uid().into_iter().flat_map(|uid| state.extensions.of(uid));
        let taken = others.flat_map(|uid| state.links_of(uid)).find(other);
        let Some(link) = taken else { return Ok(()) };
        let by = state.programs.get(&link.program);
        let by = by.map(|by| format!("program {} (\"{}\"), link {}", by.id, by.name, link.id));
        Err(ExtensionRefusal::Taken {
            extended: program
                .extended()
                .and_then(|uid| state.programs.get(&uid))
                .map_or(ProgramId(0), |of| of.id),
            function: extends.function.clone(),
            by: by.unwrap_or_default(),
        }
        .into())
    }

    pub(super) fn extension_target(
        &self,
        program: &ProgramRecord,
    ) -> Result<LinkTarget<'static>, EngineError> {
        let fault = || EngineError::Fault(format!("program {} extends nothing", program.id));
        let extends = program.extends.as_ref().ok_or_else(fault)?;
        let again = self.request_again(program)?.target.unwrap_or_default();
        let wanted: bpfman_model::ReplacedFunction = again.parse().map_err(|_| fault())?;
        let gone = || {
            let extended = format!("program {}, which is loaded no more", wanted.program);
            let (program, function) = (program.name.clone(), extends.function.clone());
            ExtensionRefusal::Gone { program, function, extended }
        };
        let handle = self.kernel.open_program(wanted.program)?.ok_or_else(gone)?;
        let types = self.kernel.program_btf(&handle)?.ok_or_else(gone)?;
        let function = ProgramFunctions::parse(&types)?.named(&extends.function).ok_or_else(gone)?.id;
        Ok(LinkTarget::Replacement(Extends { program: wanted.program, function }))
    }

    /// Refuses changes of an extended program: its extensions hold it, and would not fit the functions of a new version.
    pub(crate) fn ensure_not_extended(
        &self,
        program: &ProgramRecord,
        change: &'static str,
    ) -> Result<(), EngineError> {
        let state = self.state();
        let by: Vec<String> = state
            .extensions
            .of(program.uid)
            .filter_map(|uid| {
                let by = state.programs.get(&uid)?;
                let link = state.links_of(uid).next().map(|link| format!(", link {}", link.id));
                Some(format!("program {} (\"{}\"{})", by.id, by.name, link.unwrap_or_default()))
            })
            .collect();
        if by.is_empty() {
            return Ok(());
        }
        let (program, name) = (program.id, program.name.clone());
        Err(ExtensionRefusal::Extended { program, name, change, by }.into())
    }

    /// Refuses a second attachment of an extension: the kernel accepts one replacement per function.
    pub(crate) fn ensure_not_in_place(&self, program: &ProgramRecord) -> Result<(), EngineError> {
        if program.program_type != ProgramType::Freplace {
            return Ok(());
        }
        let link = self.state().links_of(program.uid).next().map(|link| link.id);
        let Some(link) = link else { return Ok(()) };
        Err(ExtensionRefusal::Attached { program: program.id, name: program.name.clone(), link }.into())
    }

    /// Returns tenants' extended members that a chain with members of the machine leaves out; empty for other chains.
    pub(crate) fn extended_beside_machine(
        &self,
        links: &[Arc<LinkRecord>],
    ) -> Result<Vec<LinkId>, EngineError> {
        let members = self.joined(links)?;
        let is_machines = |member: &Joined| member.turn == RankOrder::Machine;
        if !members.iter().any(is_machines) {
            return Ok(Vec::new());
        }
        let state = self.state();
        let tenants = members.iter().filter(|member| !is_machines(member));
        let extended = tenants.filter(|member| state.extension_of(member.program.uid).is_some());
        Ok(extended.map(|member| member.link.id).collect())
    }

    /// Refuses to run copies of programs that an attached extension extends: the copies would not be extended.
    pub(crate) fn ensure_none_extended(
        &self,
        key: &HookKey,
        interface: &Interface,
        members: impl IntoIterator<Item = ProgramUid>,
    ) -> Result<(), EngineError> {
        let state = self.state();
        for uid in members {
            let Some((by, extended)) = state.extension_of(uid).zip(state.programs.get(&uid)) else {
                continue;
            };
            let (extended, name) = (extended.id, extended.name.clone());
            return Err(ExtensionRefusal::Joins { hook: key.kind.at(interface), extended, name, by }.into());
        }
        Ok(())
    }
}

impl State {
    /// Returns the extension that is attached to a program, in text for users.
    pub fn extension_of(&self, uid: ProgramUid) -> Option<String> {
        let (by, link) = self.extensions.of(uid).find_map(|by| Some((by, self.links_of(by).next()?)))?;
        let by = self.programs.get(&by)?;
        Some(format!("program {} (\"{}\"), link {}", by.id, by.name, link.id))
    }
}
