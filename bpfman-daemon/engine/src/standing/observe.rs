//! Observation of the places where something was attached.

use std::path::Path;

use bpfman_model::{AttachPoint, HookKind, LinkFacts, ProgramId};
use bpfmand_kernel::{Kernel, KernelError, SearchOnce};

use super::{GonePlace, HookPart, Loss, Standing};
use crate::state::records::{Entry, HookRecord, LinkRecord, ProgramRecord};
use crate::{Engine, EngineError, paths};

pub struct Observed<H> {
    pub standing: Standing,
    pub link: Option<(H, LinkFacts)>,
    pub program: Option<ProgramId>,
}

impl<H> Observed<H> {
    pub(super) const fn nothing(standing: Standing) -> Self {
        Self { standing, link: None, program: None }
    }

    pub const fn is_pinned(&self) -> bool {
        self.link.is_some() && !matches!(self.standing, Standing::Unpinned)
    }
}

impl<K: Kernel> Engine<K> {
    pub(crate) fn observe(&self, hook: &HookRecord) -> Result<Observed<K::Handle>, EngineError> {
        let _search = SearchOnce::begin();
        let mut observed = self.observe_entry(hook)?;
        if matches!(observed.standing, Standing::Lost { .. })
            && let Some(why) = self.lost_member(hook)
        {
            return Ok(Observed::nothing(Standing::NotLoaded { why }));
        }
        // The kernel empties a program array that has no user reference: without pins, a chain loses its second half.
        if observed.standing.is_running()
            && let Some(chain) = &hook.chain
            && !self.is_whole(chain)?
        {
            observed.standing = Standing::torn(HookPart::ChainPins);
        }
        Ok(observed)
    }

    /// Returns the first lost member of a hook, with the reason. A chain is entered only with all of its members.
    fn lost_member(&self, hook: &HookRecord) -> Option<String> {
        let state = self.state();
        state.links.of_hook(&hook.key).find_map(|link| {
            let why = state.lost.why(&link.program)?;
            let name = state.programs.get(&link.program).map_or("", |program| program.name.as_str());
            Some(format!("program \"{name}\": {why}"))
        })
    }

    pub(crate) fn observe_entry(&self, hook: &HookRecord) -> Result<Observed<K::Handle>, EngineError> {
        let netns = hook.interface.netns.as_deref();
        match hook.entry {
            _ if hook.key.netns.id().is_none() => self.observe_away(&paths::hook_link(&hook.key)),
            Entry::Link => {
                let (pin, is_of_now) = (paths::hook_link(&hook.key), self.is_of_now(hook));
                self.observe_link(
                    &pin,
                    hook.program,
                    (&hook.key, netns),
                    (is_of_now, hook.kernel_link.as_ref()),
                )
            }
            Entry::Filter { priority, handle } => self.observe_filter(hook, priority, handle),
            Entry::Dispatcher => self.observe_dispatcher(hook),
        }
    }

    pub(crate) fn observe_alone(&self, link: &LinkRecord) -> Result<Observed<K::Handle>, EngineError> {
        let _search = SearchOnce::begin();
        let pin = paths::link(link.id);
        let Some(program) = self.record(link.program) else {
            return Ok(Observed::nothing(Standing::Gone));
        };
        if let Some(why) = self.state().lost.why(&link.program) {
            return Ok(Observed::nothing(Standing::NotLoaded { why }));
        }
        let is_of_now = link.boot == self.boot;
        let recorded = link.kernel_link.as_ref();
        let observed = match (link.hook, link.point.hook()) {
            (Some(key), Some((interface, HookKind::Tcx(_)))) => {
                let place = (&key, interface.netns.as_deref());
                return self.observe_link(&pin, program.id, place, (is_of_now, recorded));
            }
            (None, Some(_)) => return self.observe_away(&pin),
            _ if matches!(link.point, AttachPoint::StructOps { .. }) => {
                self.observe_functions(&pin, &program, &link.point, recorded)?
            }
            _ if link.point.is_per_cpu() => self.observe_per_cpu(&pin, program.id)?,
            _ => {
                let observed = self.with_target(link, self.observe_pin(&pin, program.id, recorded)?);
                self.with_device(link, &program, observed)?
            }
        };
        let standing = match observed.standing {
            // No pin outlives its boot.
            Standing::Unpinned if !is_of_now => Standing::Unattached { why: None },
            Standing::Lost { how: Loss::ForcedOff, .. } => self.without_place(&program, link),
            // A cgroup that ends ends its links, also those that other processes hold.
            Standing::Unpinned => self.gone_group(&program, link).unwrap_or(Standing::Unpinned),
            standing => standing,
        };
        Ok(Observed { standing, ..observed })
    }

    /// Distinguishes a forced detach from a place that is gone: the kernel reports no place for either link.
    fn without_place(&self, program: &ProgramRecord, link: &LinkRecord) -> Standing {
        let is_missing = match &link.point {
            AttachPoint::Sockmap { .. } => return Standing::lost(Loss::MapGone),
            AttachPoint::Cgroup { .. } => {
                return self.gone_group(program, link).unwrap_or(Standing::lost(Loss::ForcedOff));
            }
            point => point.netns().is_some_and(|path| match link.namespace {
                Some(home) => !self.kernel.leads_to(path.as_deref(), home),
                None => matches!(self.loopback_in(path.as_deref()), Err(KernelError::NoNamespace { .. })),
            }),
        };
        match is_missing {
            false => Standing::lost(Loss::ForcedOff),
            true => Standing::PlaceGone { place: GonePlace::Namespace, why: None },
        }
    }

    fn observe_away(&self, pin: &Path) -> Result<Observed<K::Handle>, EngineError> {
        Ok(match self.live_link(pin)? {
            Some((link, facts)) => {
                let program = Some(facts.program);
                Observed { standing: Standing::Elsewhere, link: Some((link, facts)), program }
            }
            None => Observed::nothing(Standing::Waiting),
        })
    }

    /// Returns whether the hook is entered, and restores a pin. [`KernelError::NamespaceNotFound`]: unknown.
    pub(crate) fn is_entered(&self, hook: &HookRecord) -> Result<bool, EngineError> {
        let observed = self.observe_entry(hook)?;
        match (&observed.standing, &observed.link) {
            (Standing::Unreachable, _) => {
                let (subject, netns) = (hook.key.kind.at(&hook.interface), hook.key.netns.into());
                Err(KernelError::NamespaceNotFound { subject, netns }.into())
            }
            (Standing::Unpinned, Some((link, _))) => {
                self.pin_unless_pending(link, &paths::hook_link(&hook.key))
            }
            _ => Ok(observed.program.is_some()),
        }
    }

    pub(crate) fn program_at(&self, hook: &HookRecord) -> Result<Option<ProgramId>, EngineError> {
        match hook.entry {
            Entry::Link => Ok(self.pinned_link(&paths::hook_link(&hook.key))?.map(|facts| facts.program)),
            Entry::Filter { priority, handle } => self.program_in_filter(hook, priority, handle),
            Entry::Dispatcher => Ok(None),
        }
    }

    pub(super) fn function_name(&self, program: ProgramId) -> Option<String> {
        self.kernel.program(program).ok().flatten().map(|facts| facts.name)
    }

    /// Returns whether the interface is gone, or the link was force-detached.
    pub(crate) fn is_dead(&self, pin: &Path) -> bool {
        // A link that cannot be queried is assumed to be unchanged.
        matches!(self.pinned_link(pin), Ok(Some(facts)) if !facts.is_live())
    }

    pub(crate) fn name_of(&self, program: ProgramId) -> String {
        match self.function_name(program) {
            Some(name) => format!("program {program} \"{name}\""),
            None => format!("program {program}"),
        }
    }
}
