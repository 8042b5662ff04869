//! Builds chains, passes them to the verifier and discards them.

use std::collections::BTreeSet;
use std::sync::Arc;

use bpfman_model::{HookKey, HookKind, Interface, ProgramId, hexadecimal};
use bpfmand_kernel::Kernel;
use sha2::{Digest as _, Sha256};

use crate::chain::build::Joined;
use crate::chain::ladder::ChainInputs;
use crate::dry_run::DryRunPart;
use crate::engine::members::MemberText;
use crate::engine::overlay::Overlay;
use crate::state::records::{Entry, LinkRecord, ProgramRecord, Strategy};
use crate::{Engine, EngineError};

pub struct DryRunMember {
    pub link: Arc<LinkRecord>,
    pub program: Arc<ProgramRecord>,
    pub text: Option<MemberText>,
}

impl<K: Kernel> Engine<K> {
    /// Joins the present programs of a hook, except replaced ones, with new members. The caller holds the hook.
    pub(crate) fn try_chain(
        &self,
        key: &HookKey,
        interface: &Interface,
        new: &[DryRunMember],
        replaces: &BTreeSet<ProgramId>,
    ) -> Result<DryRunPart, EngineError> {
        let _overlay = Overlay::put(self, new.iter().map(|member| &member.program));
        let is_replaced = |link: &LinkRecord| {
            self.member_record(link.program).is_some_and(|program| replaces.contains(&program.id))
        };
        let mut links = self.state().chain(key);
        let mut changed: Vec<_> = links.extract_if(.., |link| is_replaced(link)).collect();
        changed.extend(new.iter().map(|member| Arc::clone(&member.link)));
        self.ensure_not_lost(links.iter().map(|link| &**link))?;
        for member in new {
            self.ensure_chain_capacity(key, interface, &links, &member.link)?;
            links.push(Arc::clone(&member.link));
            links = self.order_changed(key, interface, links, Some(member.link.id), &member.link)?;
        }
        let mut part =
            DryRunPart { name: key.kind.at(interface), members: links.len(), ..DryRunPart::default() };
        if matches!(key.kind, HookKind::Tcx(_)) {
            part.strategy = Strategy::Direct.name();
            return Ok(part);
        }
        let left_out = self.extended_beside_machine(&links)?;
        links.retain(|link| {
            !left_out.contains(&link.id) || new.iter().any(|member| member.link.id == link.id)
        });
        self.ensure_not_frozen(key, &changed)?;
        let entered = self.state().hooks.get(key).map(|hook| (hook.entry, hook.program));
        if entered.is_none() {
            self.ensure_free(key, interface, None)?;
        }
        if entered.is_none_or(|(entry, _)| entry == Entry::Dispatcher)
            && key.kind == HookKind::Xdp
            && self.changeable_dispatcher(interface, key)?.is_some()
        {
            if !self.kernel.features().freplace {
                let contents = self.kernel.hook_contents(interface.netns.as_deref(), key)?;
                return Err(self.conflict(key, interface, contents.entries.first()));
            }
            self.ensure_none_extended(key, interface, links.iter().map(|link| link.program))?;
            // Its slots accept any program that passes the verifier alone.
            part.strategy = Strategy::Dispatcher.name();
            return Ok(part);
        }
        let members = self.joined(&links)?;
        for member in new {
            self.check_budget_of(key, interface, &members, &member.link)?;
        }
        let is_open = self.is_open(key, &members);
        let hook = self.splice_hook(key.kind, entered.map(|(entry, _)| entry), is_open);
        let wanted = self.wanted(hook, &members, &self.settings_of(key));
        if let Some(only) = wanted.direct(&members) {
            let facts = self.kernel.program(only.program.id)?;
            part.strategy = Strategy::Direct.name();
            part.verified_insns = facts.as_ref().map_or(0, |facts| facts.verified_insns);
            part.jited_bytes = facts.map_or(0, |facts| facts.bytes_jited);
            return Ok(part);
        }
        self.ensure_none_extended(key, interface, links.iter().map(|link| link.program))?;
        let text = |member: &Joined| {
            let tried = new.iter().find(|new| new.program.uid == member.program.uid);
            tried.and_then(|tried| tried.text.clone()).map_or_else(|| self.member(&member.program), Ok)
        };
        let texts = members.iter().map(text).collect::<Result<Vec<_>, _>>()?;
        let taken = self.load_best(
            &ChainInputs { key, interface, members: &members, texts: &texts, wanted: &wanted },
            false,
        )?;
        let segments = &taken.programs.segments;
        part.load_time = taken.load_time;
        part.strategy = if segments.len() == 1 { Strategy::Splice } else { Strategy::Cut }.name();
        part.verified_insns =
            segments.iter().map(|segment| segment.verified_insns).fold(0, u32::saturating_add);
        part.jited_bytes = taken.programs.jited_bytes;
        Ok(part)
    }

    pub(crate) fn neighbours(
        &self,
        key: &HookKey,
        interface: &Interface,
        replaces: &BTreeSet<ProgramId>,
    ) -> Result<Option<String>, EngineError> {
        let (ours, running) = {
            let state = self.state();
            let programs =
                state.chain(key).into_iter().filter_map(|link| state.member(link.program).cloned());
            (programs.collect::<Vec<_>>(), state.hooks.get(key).map(|hook| hook.program))
        };
        let kept = ours.iter().filter(|program| !replaces.contains(&program.id));
        let mut tags: Vec<String> = kept.map(|program| hexadecimal(&program.tag)).collect();
        if key.kind != HookKind::Xdp {
            let contents = self.kernel.hook_contents(interface.netns.as_deref(), key)?;
            let programs = contents.entries.iter().filter_map(|entry| entry.program);
            let is_ours =
                |id: &ProgramId| running == Some(*id) || ours.iter().any(|program| program.id == *id);
            for id in programs.filter(|id| !is_ours(id)) {
                tags.extend(self.kernel.program(id)?.map(|facts| format!("other {}", facts.tag_text())));
            }
        }
        Ok((!tags.is_empty()).then(|| format!("{}: {}", key.kind.name(), tags.join(" "))))
    }
}

/// Returns a hash of the programs at a hook, equal on nodes with the same programs; empty for none.
pub fn hash_of_neighbours(neighbours: &BTreeSet<String>) -> String {
    if neighbours.is_empty() {
        return String::new();
    }
    let text: Vec<&str> = neighbours.iter().map(String::as_str).collect();
    hexadecimal(&Sha256::digest(text.join("\n")))
}
