//! Status of a kernel link.

use std::collections::HashSet;
use std::path::Path;

use bpfman_model::{HookAttachment, HookEntry, HookKey, KernelLinkId, LinkFacts, ProgramId};
use bpfmand_kernel::Kernel;

use super::{HookPart, Loss, Observed, Standing};
use crate::state::HookPresence;
use crate::state::records::LinkOfBoot;
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    pub(super) fn observe_link(
        &self,
        pin: &Path,
        program: ProgramId,
        (key, netns): (&HookKey, Option<&Path>),
        (is_of_now, recorded): (bool, Option<&LinkOfBoot>),
    ) -> Result<Observed<K::Handle>, EngineError> {
        if let Some(link) = self.kernel.open_pin(pin)? {
            let facts = self.kernel.link_of(&link)?;
            if facts.ifindex.is_some() {
                return Ok(self.linked(link, facts, program));
            }
            let standing = match self.at_hook_key(netns, key, None)? {
                HookPresence::There(_) => Standing::lost(Loss::ForcedOff),
                // A detached link is gone, whether its namespace can be reached or not.
                HookPresence::Gone | HookPresence::Unreachable => Standing::Gone,
            };
            return Ok(Observed { standing, program: None, link: Some((link, facts)) });
        }
        if let Some((link, facts)) = self.recorded_link(recorded)? {
            let (program, link) = (Some(facts.program), Some((link, facts)));
            return Ok(Observed { standing: Standing::Unpinned, program, link });
        }
        let found = self.at_hook_key(netns, key, None)?;
        let candidates = match &found {
            HookPresence::There(entries) => links_that_run(entries, program),
            HookPresence::Gone => Vec::new(),
            // Ids of an earlier boot may belong to other links now.
            HookPresence::Unreachable if is_of_now => self.links_of_no_other(key)?,
            HookPresence::Unreachable => Vec::new(),
        };
        let uid = self.state().by_id.get(&program).copied();
        let of_others = uid.map_or_else(|| Ok(HashSet::new()), |uid| self.pinned_links_of(uid))?;
        // Two records can have one program at one tcx hook, where the kernel accepts it once: the link belongs to the
        // record whose pin holds it, and the other waits.
        for id in candidates.into_iter().filter(|id| !of_others.contains(id)) {
            // A link that is being freed can no longer be opened.
            let Some(link) = self.kernel.open_link(id)? else { continue };
            let facts = self.kernel.link_of(&link)?;
            if facts.ifindex == Some(key.ifindex) && facts.program == program {
                let link = Some((link, facts));
                return Ok(Observed { standing: Standing::Unpinned, program: Some(program), link });
            }
        }
        Ok(Observed::nothing(match found {
            HookPresence::There(_) => Standing::lost(Loss::LinkRemoved),
            HookPresence::Gone | HookPresence::Unreachable => Standing::Gone,
        }))
    }

    /// Returns the links that no other hook has. A link does not report its namespace, only an interface number.
    fn links_of_no_other(&self, key: &HookKey) -> Result<Vec<KernelLinkId>, EngineError> {
        let hooks: Vec<HookKey> = self.state().hooks.keys().filter(|other| *other != key).copied().collect();
        let mut others = HashSet::new();
        for hook in hooks {
            others.extend(self.pinned_link(&paths::hook_link(&hook))?.map(|facts| facts.id));
        }
        Ok(self.kernel.link_ids()?.into_iter().filter(|id| !others.contains(id)).collect())
    }

    /// Observes a pin. Without it and a recorded id, the state of a link that is at no interface is unknown.
    pub(super) fn observe_pin(
        &self,
        pin: &Path,
        program: ProgramId,
        recorded: Option<&LinkOfBoot>,
    ) -> Result<Observed<K::Handle>, EngineError> {
        let Some(link) = self.kernel.open_pin(pin)? else {
            let link = self.recorded_link(recorded)?;
            return Ok(Observed { link, ..Observed::nothing(Standing::Unpinned) });
        };
        let facts = self.kernel.link_of(&link)?;
        if facts.gone {
            return Ok(Observed {
                standing: Standing::lost(Loss::ForcedOff),
                program: None,
                link: Some((link, facts)),
            });
        }
        Ok(self.linked(link, facts, program))
    }

    pub(super) fn observe_per_cpu(
        &self,
        pin: &Path,
        program: ProgramId,
    ) -> Result<Observed<K::Handle>, EngineError> {
        let pinned: HashSet<String> = self.kernel.list_folder(pin)?.into_iter().collect();
        let online = self.kernel.online_cpus()?;
        let wanted: HashSet<String> = online.into_iter().map(paths::cpu_link).collect();
        let Some(link) = (if pinned.is_empty() { None } else { self.open_pinned(pin)? }) else {
            return Ok(Observed::nothing(Standing::Unpinned));
        };
        let facts = self.kernel.link_of(&link)?;
        if pinned != wanted {
            let program = Some(facts.program);
            let standing = Standing::torn(HookPart::CpuLinks);
            return Ok(Observed { standing, program, link: Some((link, facts)) });
        }
        Ok(self.linked(link, facts, program))
    }

    fn linked(&self, link: K::Handle, facts: LinkFacts, program: ProgramId) -> Observed<K::Handle> {
        let by = facts.program;
        let standing = match by == program {
            true => Standing::Running,
            false => Standing::Replaced { by, name: self.function_name(by) },
        };
        Observed { standing, program: Some(by), link: Some((link, facts)) }
    }
}

fn links_that_run(entries: &[HookEntry], program: ProgramId) -> Vec<KernelLinkId> {
    let ours = entries.iter().filter(|entry| entry.program == Some(program));
    ours.flat_map(|entry| match &entry.via {
        HookAttachment::XdpLink { links, .. } => links.clone(),
        HookAttachment::TcxLink { link } => vec![*link],
        _ => Vec::new(),
    })
    .collect()
}
