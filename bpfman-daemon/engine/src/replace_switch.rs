//! The switch of a program's version: every hook and link of it, one by one, each with its way back.

use std::collections::BTreeSet;
use std::sync::Arc;

use bpfmand_core::{HookKey, HookKind, OperationId};
use bpfmand_kernel::{Kernel, KernelError};

use crate::chain::BuiltChain;
use crate::records::{HookRecord, LinkRecord, ProgramRecord};
use crate::replace::{LockedVersion, MapOutcome};
use crate::replace_maps::Fates;
use crate::undo::Undo;
use crate::{Engine, EngineError, paths};

/// All places of a program, with its new version in them.
pub struct Switched {
    /// The new records of hooks.
    pub hooks: Vec<HookRecord>,
    /// What became of its maps.
    pub maps: Vec<MapOutcome>,
}

impl<K: Kernel> Engine<K> {
    /// Puts the new version into all places of the old one. What the hooks run then is in `built`, which has to outlive
    /// `undo`: until a hook is swapped back, its chain needs its pins.
    pub(crate) fn switch<'a>(
        &'a self,
        locked: &LockedVersion,
        new: &Arc<ProgramRecord>,
        fates: Option<&Fates>,
        built: &mut Vec<BuiltChain<'a, K>>,
        undo: &mut Undo<'a>,
    ) -> Result<Switched, EngineError> {
        let handle = self.kernel.open_program(new.id)?.ok_or(EngineError::NoKernelProgram(new.id))?;
        let is_chain = |key: &HookKey| !matches!(key.kind, HookKind::Tcx(_));
        let keys: BTreeSet<HookKey> =
            locked.links.iter().filter_map(|link| link.hook).filter(is_chain).collect();
        // Whatever the verifier says it says before the first hook is touched.
        let mut changed = Vec::new();
        for key in keys {
            let (hook, links) = {
                let state = self.state();
                (state.hooks.get(&key).cloned(), state.chain(&key))
            };
            // What someone took away is entered again by recovery or the next attach, with the new version.
            if let Some(hook) = hook
                && self.is_entered(&hook)?
            {
                self.step("replace", "build chain");
                built.push(self.build_chain(&key, &hook.interface, &links, Some(hook.entry))?);
                changed.push(hook);
            }
        }
        // As late as can be: what the old version writes from now on is not copied.
        let maps = fates.map(|fates| self.copy_maps(fates, new)).transpose()?.unwrap_or_default();
        let mut hooks = Vec::with_capacity(built.len());
        for (hook, built) in changed.iter().zip(&*built) {
            self.change_chain(hook, built, undo)?;
            hooks.push(built.recorded((**hook).clone()));
        }
        for link in &locked.links {
            match (link.hook, link.point.hook()) {
                (_, Some((_, HookKind::Tcx(_)))) => self.switch_link(link, &locked.old, new, undo)?,
                (_, Some(_)) => {}
                (_, None) => self.attach_beside(link, &handle, new, undo)?,
            }
        }
        Ok(Switched { hooks, maps })
    }

    /// Updates a tcx link, which keeps its place.
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
            if self.kernel.link_of(&link)?.ifindex.is_none() {
                return Ok(());
            }
            let open = |id| -> Result<K::Handle, EngineError> {
                self.kernel.open_program(id)?.ok_or(EngineError::NoKernelProgram(id))
            };
            match self.kernel.replace(&link, &open(to)?, &open(from)?) {
                // Its interface went after the look above.
                Err(_) if self.kernel.link_of(&link)?.ifindex.is_none() => Ok(()),
                result => Ok(result?),
            }
        };
        update(from, to)?;
        undo.push(move || update(to, from));
        Ok(())
    }

    /// Attaches the new version beside the old one, where the kernel updates no links.
    fn attach_beside<'a>(
        &'a self,
        link: &LinkRecord,
        handle: &K::Handle,
        new: &ProgramRecord,
        undo: &mut Undo<'a>,
    ) -> Result<(), EngineError> {
        if self.kernel.open_pin(&paths::link(link.id))?.is_none() {
            // Someone removed it; recovery attaches it again, with the new version.
            return Ok(());
        }
        let target = self.link_target(new, link)?;
        self.step("replace", "attach beside");
        let attached = self.kernel.attach(handle, &target)?;
        let pin = paths::replaced_link(new.operation, link.id);
        self.kernel.pin(&attached, &pin)?;
        undo.push(move || Ok(self.kernel.end_link(&pin)?));
        Ok(())
    }

    /// Ends the old links of a replaced program and puts the new ones in their place. Running it again is fine.
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

    /// Makes a tcx link run the program of its record, if a replacement that was cut short left another one there.
    pub(crate) fn mend_link(&self, link: &LinkRecord, handle: &K::Handle) -> Result<bool, EngineError> {
        let Some((_, HookKind::Tcx(_))) = link.point.hook() else { return Ok(false) };
        let facts = self.kernel.link_of(handle)?;
        let Some(program) = self.record(link.program) else { return Ok(false) };
        if facts.program == program.id || facts.ifindex.is_none() || self.state().lost.contains(&program.uid)
        {
            return Ok(false);
        }
        if !self.is_own(facts.program, (program.id, program.tag))? {
            return Err(self.taken_over(facts.program));
        }
        let open = |id| -> Result<K::Handle, EngineError> {
            self.kernel.open_program(id)?.ok_or(EngineError::NoKernelProgram(id))
        };
        match self.kernel.replace(handle, &open(program.id)?, &open(facts.program)?) {
            Ok(()) => Ok(true),
            // Its interface goes at this moment.
            Err(KernelError::Call { .. }) if self.kernel.link_of(handle)?.ifindex.is_none() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
