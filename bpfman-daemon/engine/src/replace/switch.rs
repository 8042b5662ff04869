//! Switches versions at every hook and link of the programs, one by one, each with its undo step.

use std::collections::BTreeMap;
use std::sync::Arc;

use bpfman_model::{AttachPoint, Direction, HookKey, HookKind, LinkId, OperationId, RankOrder};
use bpfmand_kernel::{Kernel, KernelError};

use crate::attach::sockmap::stays_in_place;
use crate::chain::BuiltChain;
use crate::engine::undo::Undo;
use crate::error::Remainder;
use crate::replace::MapOutcome;
use crate::replace::maps::Fates;
use crate::state::records::{HookRecord, LeftoverRecord, LinkRecord, ProgramRecord};
use crate::{Engine, EngineError, paths};

pub struct Pair {
    pub old: Arc<ProgramRecord>,
    pub new: Arc<ProgramRecord>,
    pub links: Vec<Arc<LinkRecord>>,
}

pub struct VersionSwitch<'l> {
    pub pairs: &'l [Pair],
    /// Links of programs without a new version: they leave their chains when the others change.
    pub leaving: &'l [Arc<LinkRecord>],
    /// Fates of the maps, and a program that has the new maps; `None` if the new versions already have their maps.
    pub fates: Option<(&'l Fates, &'l ProgramRecord)>,
}

#[derive(Default)]
pub struct Switched {
    pub hooks: Vec<HookRecord>,
    pub links: Vec<Arc<LinkRecord>>,
    pub ended: Vec<HookKey>,
    pub leftover: LeftoverRecord,
    pub maps: Vec<MapOutcome>,
}

type Leaving = BTreeMap<HookKey, Vec<LinkId>>;

impl VersionSwitch<'_> {
    fn chains(&self) -> Leaving {
        let mut chains = Leaving::new();
        for link in self.pairs.iter().flat_map(|pair| &pair.links) {
            if let Some(key) = chain_hook(link) {
                chains.entry(key).or_default();
            }
        }
        for link in self.leaving {
            if let Some(key) = chain_hook(link) {
                chains.entry(key).or_default().push(link.id);
            }
        }
        chains
    }

    fn links_at(&self, key: &HookKey) -> Vec<Arc<LinkRecord>> {
        let links = self.pairs.iter().flat_map(|pair| &pair.links).chain(self.leaving);
        links.filter(|link| link.hook.as_ref() == Some(key)).cloned().collect()
    }
}

/// Refuses a tenant's version that may take packets past the machine's programs, where the old one could not.
fn ensure_turns(pair: &Pair) -> Result<(), EngineError> {
    // No chain holds back copies that a tcx program sends.
    let sends_copies = |link: &LinkRecord| {
        let is_out = link.hook.is_some_and(|key| key.kind == HookKind::Tcx(Direction::Egress));
        is_out && link.turn(&pair.new) != RankOrder::Machine && pair.new.may_clone() && !pair.old.may_clone()
    };
    let is_wider = |link: &&Arc<LinkRecord>| {
        let is_narrowed_no_more = link.turn(&pair.old) == RankOrder::TenantsFirst
            && link.turn(&pair.new) != RankOrder::TenantsFirst;
        is_narrowed_no_more || sends_copies(link)
    };
    let Some(link) = pair.links.iter().find(is_wider) else { return Ok(()) };
    let hook = link.point.to_string();
    Err(EngineError::NotNarrowed { program: pair.new.name.clone(), hook })
}

fn chain_hook(link: &LinkRecord) -> Option<HookKey> {
    link.hook.filter(|key| !matches!(key.kind, HookKind::Tcx(_)))
}

impl<K: Kernel> Engine<K> {
    /// Switches hooks and links. `built` must outlive `undo`: until swapped back, a new chain needs its pins.
    pub(crate) fn switch<'a>(
        &'a self,
        change: &VersionSwitch<'_>,
        built: &mut Vec<BuiltChain<'a, K>>,
        undo: &mut Undo<'a>,
    ) -> Result<Switched, EngineError> {
        let mut switched = Switched::default();
        change.pairs.iter().try_for_each(ensure_turns)?;
        for Pair { old, new, links } in change.pairs {
            links.iter().try_for_each(|link| self.ensure_version_sends_no_more(old, new, link))?;
        }
        // Build all chains first: the verifier may refuse one, and then no hook has changed.
        let mut changed = Vec::new();
        let mut ending = Leaving::new();
        for (key, leaving) in change.chains() {
            let (hook, links) = self.remaining(&key, &leaving);
            let Some(hook) = hook else { continue };
            // Recovery or the next attach restores an entry that a third party removed, with the new version.
            let is_entered = self.is_entered(&hook)?;
            if links.is_empty() {
                ending.insert(key, leaving);
            } else if is_entered {
                self.step("replace", "build chain");
                let of_hook = change.links_at(&key);
                built.push(self.build_chain(&key, &hook.interface, &links, Some(hook.entry), &of_hook)?);
                changed.push((hook, !leaving.is_empty()));
            } else if !leaving.is_empty() {
                switched.hooks.push(HookRecord { newcomer: None, ..(*hook).clone() });
            }
        }
        // Copy as late as possible: writes of the old version after this point are lost.
        if let Some((fates, new)) = change.fates {
            switched.maps = self.copy_maps(fates, new)?;
        }
        for ((hook, is_left), built) in changed.iter().zip(&*built) {
            self.change_chain(hook, built, undo)?;
            let newcomer = hook.newcomer.filter(|_| !is_left);
            switched.hooks.push(built.recorded(HookRecord { newcomer, ..(**hook).clone() }));
        }
        for (key, leaving) in ending {
            let (hook, last) = self.leave_chain("replace", &key, &leaving, &mut switched.leftover, undo)?;
            built.extend(last);
            match hook {
                Some(hook) => switched.hooks.push(hook),
                None => switched.ended.push(key),
            }
        }
        for pair in change.pairs {
            self.switch_links(pair, &mut switched.links, undo)?;
        }
        let alone = change.leaving.iter().filter(|link| chain_hook(link).is_none());
        switched.leftover.links.extend(alone.map(|link| paths::link(link.id).display().to_string()));
        Ok(switched)
    }

    fn switch_links<'a>(
        &'a self,
        pair: &Pair,
        made: &mut Vec<Arc<LinkRecord>>,
        undo: &mut Undo<'a>,
    ) -> Result<(), EngineError> {
        let new = &pair.new;
        let handle = self.loaded_program(new.id)?;
        for link in &pair.links {
            match link.point.hook() {
                Some((_, HookKind::Xdp | HookKind::Tc(_))) => {}
                _ if matches!(link.point, AttachPoint::StructOps { .. }) => {
                    self.switch_functions(link, &pair.old, new, undo)?;
                }
                _ if link.point.has_updatable_link() && stays_in_place(&link.point, &pair.old, new) => {
                    self.switch_link(link, &pair.old, new, undo)?;
                }
                _ => made.extend(self.attach_beside(link, &handle, new, undo)?),
            }
        }
        Ok(())
    }

    fn switch_link<'a>(
        &'a self,
        link: &LinkRecord,
        old: &ProgramRecord,
        new: &ProgramRecord,
        undo: &mut Undo<'a>,
    ) -> Result<(), EngineError> {
        let (id, from, to) = (link.id, old.id, new.id);
        self.step("replace", "update link");
        let update = move |from, to| -> Result<(), EngineError> {
            let Some(link) = self.kernel.open_pin(&paths::link(id))? else { return Ok(()) };
            self.switch_program(&link, from, &self.loaded_program(to)?).map(drop)
        };
        update(from, to)?;
        let left = move |error| self.not_undone(Remainder::Link { id, now: to }, None, error);
        undo.push(move || update(to, from).map_err(left));
        Ok(())
    }

    /// Attaches the new version beside the old one. Returns the link's record, if its target must be recorded.
    fn attach_beside<'a>(
        &'a self,
        link: &Arc<LinkRecord>,
        handle: &K::Handle,
        new: &ProgramRecord,
        undo: &mut Undo<'a>,
    ) -> Result<Option<Arc<LinkRecord>>, EngineError> {
        if self.pinned_links(link)?.is_empty() {
            return Ok(None);
        }
        self.finish_reattach(link)?;
        self.check_probe_again(link)?;
        let link = &*self.guarded_link(new, link)?;
        let target = self.link_target(new, link)?;
        self.step("replace", "attach beside");
        let pin = paths::replaced_link(new.operation, link.id);
        let targets =
            self.attach_pinned("replace", handle, &target, &pin, undo).map_err(|error| match error {
                // Netfilter accepts one program per priority: the old version blocks the new one.
                EngineError::Kernel(KernelError::HookHeld { hook, .. })
                    if matches!(link.point, AttachPoint::Netfilter { .. }) =>
                {
                    EngineError::HeldByOurs { hook, link: Some(link.id) }
                }
                error => error,
            })?;
        let made = if link.has_kernel_link() { self.pinned_link(&pin)? } else { None };
        let kernel_link = made.map(|facts| self.link_of_boot(&facts));
        let changed = targets != link.targets || kernel_link != link.kernel_link;
        Ok(changed.then(|| Arc::new(LinkRecord { targets, kernel_link, ..link.clone() })))
    }

    /// Sets the guarded tasks of a link from before guards existed, which is harmless if the replacement fails.
    fn guarded_link(
        &self,
        program: &ProgramRecord,
        link: &Arc<LinkRecord>,
    ) -> Result<Arc<LinkRecord>, EngineError> {
        if link.guard.is_some() {
            return Ok(Arc::clone(link));
        }
        let Some(guard) = self.guard_of_link(program, &link.point, None)? else {
            return Ok(Arc::clone(link));
        };
        let guarded = Arc::new(LinkRecord { guard: Some(guard), ..(**link).clone() });
        self.record_link(&guarded, None)?;
        Ok(guarded)
    }

    /// Moves the links of new versions into the places of the old ones; idempotent.
    pub(crate) fn place_replaced_links(&self, operation: OperationId) -> Result<(), EngineError> {
        for name in self.kernel.list_folder(&paths::pending(operation))? {
            let Some(id) = paths::replaced_link_id(&name) else { continue };
            let (pin, place) = (paths::replaced_link(operation, id), paths::link(id));
            self.step("replace", "end old link");
            self.kernel.end_link(&place)?;
            self.kernel.rename(&pin, &place)?;
        }
        Ok(())
    }

    /// Updates a link that runs another program after an interrupted replacement. `is_ours` is true if the caller knows
    /// that this other program is the daemon's, although its pin is gone.
    pub(crate) fn mend_link(
        &self,
        link: &LinkRecord,
        handle: &K::Handle,
        is_ours: bool,
    ) -> Result<bool, EngineError> {
        if !link.point.has_updatable_link() {
            return Ok(false);
        }
        let facts = self.kernel.link_of(handle)?;
        let Some(program) = self.record(link.program) else { return Ok(false) };
        if let AttachPoint::StructOps { map } = &link.point {
            return self.mend_functions(handle, &facts, &program, map);
        }
        if facts.program == program.id || !facts.is_live() || self.state().lost.contains(&program.uid) {
            return Ok(false);
        }
        if !is_ours && !self.is_own(facts.program, (program.id, program.tag))? {
            return Err(self.taken_over(facts.program));
        }
        self.switch_program(handle, facts.program, &self.loaded_program(program.id)?)
    }
}
