//! Links: the records, and what the kernel runs in their place.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bpfmand_core::{KernelLinkId, LinkId, ProgramId, ProgramType};
use bpfmand_kernel::{Kernel, TcFilter};

use crate::chain::{filter_place, hook_text};
use crate::describe::{OK, has_pair};
use crate::details::LinkDetails;
use crate::records::{Entry, HookRecord, LinkRecord};
use crate::recover_moves::is_parked;
use crate::{Engine, EngineError, paths};

/// The state of what is attached to an interface that is not there.
const WAITING: &str = "waiting: its interface is not there, and it is attached when it comes";

/// The state of what is attached to an interface that was moved to another network namespace.
const ELSEWHERE: &str = "elsewhere: its interface was moved to another network namespace, where it runs on";

/// What a hook runs now.
pub struct Running {
    /// The kernel's link, where there is one.
    pub kernel_link: Option<KernelLinkId>,
    /// The program; none if nothing runs.
    pub program: Option<ProgramId>,
    /// The link's pin.
    pub pin: Option<PathBuf>,
    /// "ok", or what differs from the record.
    pub state: String,
}

impl<K: Kernel> Engine<K> {
    /// All links, by id, of the programs that `wanted` picks.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    pub fn list_links(
        &self,
        program: Option<ProgramId>,
        program_type: Option<ProgramType>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Vec<LinkDetails>, EngineError> {
        let links: Vec<Arc<LinkRecord>> = {
            let state = self.state();
            let fits = |link: &&Arc<LinkRecord>| {
                state.programs.get(&link.program).is_some_and(|owner| {
                    program.is_none_or(|wanted| wanted == owner.id)
                        && program_type.is_none_or(|wanted| wanted == owner.program_type)
                        && metadata.iter().all(|(key, value)| has_pair(&owner.metadata, key, value))
                })
            };
            state.links.values().filter(fits).cloned().collect()
        };
        let mut shown = Vec::with_capacity(links.len());
        for link in &links {
            match self.link_details(link) {
                Ok(details) => shown.push(details),
                // Detached by another call since the look at the records.
                Err(EngineError::NoLink(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(shown)
    }

    /// One link.
    ///
    /// # Errors
    /// There is none of that id.
    pub fn describe_link(&self, id: LinkId) -> Result<LinkDetails, EngineError> {
        let link = self.state().links.get(&id).cloned().ok_or(EngineError::NoLink(id))?;
        self.link_details(&link)
    }

    fn link_details(&self, link: &LinkRecord) -> Result<LinkDetails, EngineError> {
        let program = self.record(link.program).ok_or(EngineError::NoLink(link.id))?;
        let position = link.hook.and_then(|key| {
            self.running_order(&key).iter().position(|other| other.id == link.id).map(|at| at as u32)
        });
        let hook = link.hook.and_then(|key| self.state().hooks.get(&key).cloned());
        let running = match &hook {
            Some(hook) => self.running_chain(hook)?,
            None => self.running_link(link, program.id)?,
        };
        Ok(LinkDetails {
            id: link.id,
            program: program.id,
            program_name: program.name.clone(),
            program_type: program.program_type,
            target: program.target.clone(),
            point: link.point.clone(),
            metadata: link.metadata.clone(),
            program_metadata: program.metadata.clone(),
            order: link.order.clone(),
            waits_for: link.hook.map(|key| self.waits_for(&key, link.id)).unwrap_or_default(),
            position,
            kernel_link: running.kernel_link,
            running: running.program,
            pin: running.pin,
            hook: link.hook.zip(link.point.hook()).map(|(key, (interface, _))| hook_text(&key, interface)),
            state: running.state,
        })
    }

    fn running_link(&self, link: &LinkRecord, program: ProgramId) -> Result<Running, EngineError> {
        let pin = paths::link(link.id);
        let Some(handle) = self.kernel.open_pin(&pin)? else {
            let state = match self.state().drifted_links.get(&link.id) {
                Some(what) => format!("lost: {what}"),
                None if link.hook.is_none() && link.point.hook().is_some() => WAITING.to_owned(),
                None => "missing: its pin was removed".to_owned(),
            };
            return Ok(Running { kernel_link: None, program: None, pin: None, state });
        };
        let facts = self.kernel.link_of(&handle)?;
        let drift = self.state().drifted_links.get(&link.id).map(|what| format!("lost: {what}"));
        let state = if link.hook.is_none() && facts.ifindex.is_some() {
            ELSEWHERE.to_owned()
        } else if facts.is_at_interface() && facts.ifindex.is_none() {
            drift.unwrap_or_else(|| "gone: its interface no longer exists".to_owned())
        } else if facts.program == program {
            OK.to_owned()
        } else {
            format!("changed: the kernel's link runs program {}", facts.program)
        };
        Ok(Running { kernel_link: Some(facts.id), program: Some(facts.program), pin: Some(pin), state })
    }

    pub(crate) fn running_chain(&self, hook: &HookRecord) -> Result<Running, EngineError> {
        if self.runs_elsewhere(&hook.key)? {
            return Ok(Running { state: ELSEWHERE.to_owned(), ..self.running_now(hook)? });
        }
        if is_parked(&hook.key) {
            return Ok(Running { kernel_link: None, program: None, pin: None, state: WAITING.to_owned() });
        }
        let mut running = self.running_now(hook)?;
        // What a check found says more than what can be seen at once.
        if running.state != OK
            && let Some(what) = self.state().drifted.get(&hook.key)
        {
            running.state = format!("lost: {what}");
        }
        Ok(running)
    }

    fn running_now(&self, hook: &HookRecord) -> Result<Running, EngineError> {
        match hook.entry {
            Entry::Link => {
                let pin = paths::hook_link(&hook.key);
                let Some(handle) = self.kernel.open_pin(&pin)? else {
                    return Ok(Running {
                        kernel_link: None,
                        program: None,
                        pin: None,
                        state: "missing: the pin of its chain was removed".to_owned(),
                    });
                };
                let facts = self.kernel.link_of(&handle)?;
                let state = if facts.ifindex.is_none() {
                    "gone: its interface no longer exists".to_owned()
                } else if facts.program == hook.program {
                    OK.to_owned()
                } else {
                    format!("changed: the hook runs program {} instead of its chain", facts.program)
                };
                let program = facts.ifindex.map(|_| facts.program);
                Ok(Running { kernel_link: Some(facts.id), program, pin: Some(pin), state })
            }
            Entry::Dispatcher => {
                let standing = self.dispatcher_with_ours(hook)?;
                let state = match &standing {
                    Some(standing) if standing.has_all_of(hook) => OK.to_owned(),
                    Some(_) => {
                        "changed: someone took a program of its chain out of libxdp's dispatcher".to_owned()
                    }
                    None => "gone: libxdp's dispatcher at its hook does not have it".to_owned(),
                };
                let program = standing.map(|standing| standing.program.id);
                Ok(Running { kernel_link: None, program, pin: None, state })
            }
            Entry::Filter { priority, handle } => {
                let program = filter_place(&hook.key, &hook.interface, TcFilter { priority, handle })
                    // The namespace may be gone with its interface.
                    .and_then(|at| self.kernel.filter_program(&at).unwrap_or(None));
                let state = match program {
                    Some(program) if program == hook.program => OK.to_owned(),
                    Some(program) => {
                        format!("changed: the filter runs program {program} instead of its chain")
                    }
                    None => "gone: its filter or interface no longer exists".to_owned(),
                };
                Ok(Running { kernel_link: None, program, pin: None, state })
            }
        }
    }
}
