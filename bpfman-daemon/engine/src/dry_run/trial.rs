//! Chains that are built, shown to the verifier and dropped.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use bpfmand_core::{
    HookKey, HookKind, Interface, LinkId, MAX_CHAIN_MEMBERS, OrderedEntry, Place, ProgramId, ProgramUid,
    hexadecimal, order_chain, order_links, solve,
};
use bpfmand_kernel::Kernel;
use bpfmand_object::ObjectFile;
use bpfmand_splice::{Attempt, can_attach_direct, plan};
use sha2::{Digest as _, Sha256};

use crate::chain::build::{Joined, Wanted, mask};
use crate::chain::load::Failure;
use crate::dry_run::DryRunPart;
use crate::order::refuse_unknown;
use crate::state::hook_names::hook_text;
use crate::state::records::{Entry, LinkRecord, ProgramRecord, Strategy};
use crate::{Engine, EngineError};

/// A member that is not there: its records are in no store and no map of the state.
pub struct TrialMember {
    pub link: Arc<LinkRecord>,
    pub program: Arc<ProgramRecord>,
}

impl<K: Kernel> Engine<K> {
    /// Joins what runs at a hook now, but for what is replaced, with new members, and asks the kernel. The caller holds
    /// the hook.
    pub(crate) fn try_chain(
        &self,
        key: &HookKey,
        interface: &Interface,
        new: &[TrialMember],
        object: &ObjectFile,
        replaces: &BTreeSet<ProgramId>,
    ) -> Result<DryRunPart, EngineError> {
        let find = |uid: ProgramUid| {
            let ours = new.iter().find(|member| member.program.uid == uid);
            ours.map(|member| Arc::clone(&member.program)).or_else(|| self.member_record(uid))
        };
        let is_replaced = |link: &LinkRecord| find(link.program).is_some_and(|p| replaces.contains(&p.id));
        let mut links = self.state().chain(key);
        links.retain(|link| !is_replaced(link));
        self.refuse_lost(links.iter().map(|link| &**link))?;
        for member in new {
            if links.len() >= MAX_CHAIN_MEMBERS {
                return Err(EngineError::ChainFull {
                    hook: hook_text(key, interface),
                    limit: MAX_CHAIN_MEMBERS,
                });
            }
            links.push(Arc::clone(&member.link));
            links = self.order_trial(key, interface, links, &member.link, &find)?;
        }
        let mut part =
            DryRunPart { name: hook_text(key, interface), members: links.len(), ..DryRunPart::default() };
        if matches!(key.kind, HookKind::Tcx(_)) {
            // Each runs by itself.
            part.strategy = Strategy::Direct.name();
            return Ok(part);
        }
        self.refuse_held(key)?;
        let entered = self.state().hooks.get(key).map(|hook| (hook.entry, hook.program));
        if entered.is_none() {
            self.refuse_taken(key, interface, None)?;
        }
        if entered.is_none_or(|(entry, _)| entry == Entry::Dispatcher)
            && key.kind == HookKind::Xdp
            && self.standing_dispatcher(interface, key)?.is_some()
        {
            if !self.kernel.features().freplace {
                let contents = self.kernel.hook_contents(interface.netns.as_deref(), key)?;
                return Err(self.conflict(key, interface, contents.entries.first()));
            }
            // Its slots take any program that passes alone.
            part.strategy = Strategy::Dispatcher.name();
            return Ok(part);
        }
        let members = self.joined_by(&links, &find)?;
        for member in new {
            self.check_budget_of(key, interface, &members, &member.link)?;
        }
        let hook = self.splice_hook(key.kind, entered.map(|(entry, _)| entry));
        let settings = self.settings_of(key);
        let counters = self.is_counted(hook, &members, &settings);
        if let [only] = &*members
            && !counters
            && !settings.timing
            && can_attach_direct(hook, mask(&only.link))
        {
            let facts = self.kernel.program(only.program.id)?;
            part.strategy = Strategy::Direct.name();
            part.verified_insns = facts.as_ref().map_or(0, |facts| facts.verified_insns);
            part.jited_bytes = facts.map_or(0, |facts| facts.bytes_jited);
            return Ok(part);
        }
        let wanted =
            Wanted { hook, counters, timing: settings.timing, as_subprograms: settings.as_subprograms };
        self.try_members(key, interface, &members, new, object, &wanted, part)
    }

    #[expect(clippy::too_many_arguments, reason = "all that a chain is made of")]
    fn try_members(
        &self,
        key: &HookKey,
        interface: &Interface,
        members: &[Joined],
        new: &[TrialMember],
        object: &ObjectFile,
        wanted: &Wanted,
        mut part: DryRunPart,
    ) -> Result<DryRunPart, EngineError> {
        let is_new = |program: &ProgramRecord| new.iter().any(|member| member.program.uid == program.uid);
        let text = |member: &Joined| match &*member.program {
            program if is_new(program) => self.member_of(object, program),
            program => self.member(program),
        };
        let texts = members.iter().map(text).collect::<Result<Vec<_>, _>>()?;
        let special = self.special_of(members, &texts)?;
        let mut options = self.splice_options(wanted, &special);
        let parts = self.parts(members, &texts)?;
        let cannot =
            |source| EngineError::Chain { hook: hook_text(key, interface), source: Box::new(source) };
        let mut refused = None;
        let mut ways = 0;
        let mut attempt = Some(Attempt::First);
        while let Some(now) = attempt {
            attempt = now.next();
            options.attempt = now;
            let planned = match plan(&parts, &options) {
                Ok(planned) => planned,
                Err(source) if refused.is_none() => return Err(cannot(source)),
                Err(_) => continue,
            };
            let began = Instant::now();
            match self.load_plan(None, key, members, &parts, &planned, &options) {
                Ok((_loaded, programs)) => {
                    part.load_time = began.elapsed();
                    part.strategy = match programs.segments.len() {
                        1 => Strategy::Splice.name(),
                        _ => Strategy::Cut.name(),
                    };
                    let insns = programs.segments.iter().map(|segment| segment.verified_insns);
                    part.verified_insns = insns.fold(0, u32::saturating_add);
                    part.jited_bytes = programs.jited_bytes;
                    return Ok(part);
                }
                Err(Failure::Verifier(why)) => {
                    ways += 1;
                    refused.get_or_insert(why);
                }
                Err(Failure::Other(EngineError::Unplanned(source))) if refused.is_none() => {
                    return Err(cannot(*source));
                }
                Err(Failure::Other(EngineError::Unplanned(_))) => {}
                Err(Failure::Other(error)) => return Err(error),
            }
        }
        match refused {
            Some(refused) => Err(EngineError::ChainRefused {
                hook: hook_text(key, interface),
                member: refused.member,
                log: refused.log,
                ways,
                source: Box::new(refused.source),
            }),
            None => Err(EngineError::Invalid("a chain without a plan".to_owned())),
        }
    }

    /// The order that the links would have, of which the last is new.
    fn order_trial(
        &self,
        key: &HookKey,
        interface: &Interface,
        links: Vec<Arc<LinkRecord>>,
        newcomer: &LinkRecord,
        find: &impl Fn(ProgramUid) -> Option<Arc<ProgramRecord>>,
    ) -> Result<Vec<Arc<LinkRecord>>, EngineError> {
        let place = |link: &Arc<LinkRecord>| Place {
            name: find(link.program).map(|program| program.name.clone()).unwrap_or_default(),
            ..self.state().place(link)
        };
        let mut places: Vec<Place> = links.iter().map(place).collect();
        match key.kind {
            HookKind::Tcx(_) => order_links(&mut places),
            _ => order_chain(&mut places, Some(newcomer.id)),
        }
        let solution = solve(&places, &[]).map_err(|c| self.contradiction(key, interface, c, newcomer.id))?;
        let own = solution.waiting.iter().filter(|w| !matches!(w.anchor, bpfmand_core::Anchor::Foreign(_)));
        refuse_unknown(own, key, interface, newcomer.id, &places, &[])?;
        let find_link = |id: LinkId| links.iter().find(|link| link.id == id).cloned();
        Ok(solution.order.iter().filter_map(OrderedEntry::link).filter_map(find_link).collect())
    }

    /// Kind and tags of the programs at a hook: ours that are not replaced, and others' where they share it.
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

/// One hash for all hooks, the same wherever the same programs are; empty for none.
pub fn hash_of_neighbours(neighbours: &BTreeSet<String>) -> String {
    if neighbours.is_empty() {
        return String::new();
    }
    let text: Vec<&str> = neighbours.iter().map(String::as_str).collect();
    hexadecimal(&Sha256::digest(text.join("\n")))
}
