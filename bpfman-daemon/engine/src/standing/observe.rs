//! Looking at the places where something of ours was put.

use std::path::Path;

use bpfmand_core::{AttachPoint, HookKind, LinkFacts, ProgramId};
use bpfmand_kernel::{Kernel, KernelError, SearchOnce};

use super::{HookPart, Standing};
use crate::state::records::{Entry, HookRecord, LinkRecord};
use crate::{Engine, EngineError, paths};

/// What is at a place.
pub struct Observed<H> {
    /// How what was put there stands.
    pub standing: Standing,
    /// The kernel's link, pinned or not, where there is one.
    pub link: Option<(H, LinkFacts)>,
    /// The program that runs there, whoever put it there.
    pub program: Option<ProgramId>,
}

impl<H> Observed<H> {
    /// Nothing of ours.
    pub(super) const fn nothing(standing: Standing) -> Self {
        Self { standing, link: None, program: None }
    }

    /// True if the link is there, at its pin.
    pub const fn is_pinned(&self) -> bool {
        self.link.is_some() && !matches!(self.standing, Standing::Unpinned)
    }
}

impl<K: Kernel> Engine<K> {
    /// What is where the chain of a hook was put. A chain is followed to what it leads to.
    pub(crate) fn observe(&self, hook: &HookRecord) -> Result<Observed<K::Handle>, EngineError> {
        let _search = SearchOnce::begin();
        let mut observed = self.observe_entry(hook)?;
        if matches!(observed.standing, Standing::Lost { .. })
            && let Some(why) = self.lost_member(hook)
        {
            return Ok(Observed::nothing(Standing::NotLoaded { why }));
        }
        // The kernel empties an array that nobody holds: without pins a chain loses its second half.
        if observed.standing.is_running()
            && let Some(chain) = &hook.chain
            && !self.is_whole(chain)?
        {
            observed.standing = Standing::torn(HookPart::ChainPins);
        }
        Ok(observed)
    }

    /// Returns why a member of a hook's chain could not be loaded again: a chain is entered with all of its members.
    fn lost_member(&self, hook: &HookRecord) -> Option<String> {
        let state = self.state();
        state.links.of_hook(&hook.key).find_map(|link| {
            let why = state.lost.why(&link.program)?;
            let name = state.programs.get(&link.program).map_or("", |program| program.name.as_str());
            Some(format!("program \"{name}\": {why}"))
        })
    }

    /// The same, as far as the entry of the chain.
    pub(crate) fn observe_entry(&self, hook: &HookRecord) -> Result<Observed<K::Handle>, EngineError> {
        let netns = hook.interface.netns.as_deref();
        match hook.entry {
            _ if hook.key.netns.id().is_none() => self.observe_away(&paths::hook_link(&hook.key)),
            Entry::Link => {
                let (pin, is_of_now) = (paths::hook_link(&hook.key), self.is_of_now(hook));
                self.observe_link(&pin, hook.program, (&hook.key, netns), is_of_now)
            }
            Entry::Filter { priority, handle } => self.observe_filter(hook, priority, handle),
            Entry::Dispatcher => self.observe_dispatcher(hook),
        }
    }

    /// What is where a link was put that is no member of a chain.
    pub(crate) fn observe_alone(&self, link: &LinkRecord) -> Result<Observed<K::Handle>, EngineError> {
        let _search = SearchOnce::begin();
        let pin = paths::link(link.id);
        let Some(program) = self.record(link.program) else {
            return Ok(Observed::nothing(Standing::Gone));
        };
        if let Some(why) = self.state().lost.why(&link.program) {
            return Ok(Observed::nothing(Standing::NotLoaded { why }));
        }
        match (link.hook, link.point.hook()) {
            (Some(key), Some((interface, HookKind::Tcx(_)))) => {
                let place = (&key, interface.netns.as_deref());
                self.observe_link(&pin, program.id, place, link.boot == self.boot)
            }
            (None, Some(_)) => self.observe_away(&pin),
            _ if matches!(link.point, AttachPoint::StructOps { .. }) => {
                self.observe_functions(&pin, &program, &link.point)
            }
            _ if link.point.is_per_cpu() => self.observe_per_cpu(&pin, program.id),
            _ => Ok(self.with_target(link, self.observe_pin(&pin, program.id)?)),
        }
    }

    /// What is at the pin of something that is recorded at no place: its interface is away, or was moved.
    fn observe_away(&self, pin: &Path) -> Result<Observed<K::Handle>, EngineError> {
        Ok(match self.live_link(pin)? {
            Some((link, facts)) => {
                let program = Some(facts.program);
                Observed { standing: Standing::Elsewhere, link: Some((link, facts)), program }
            }
            None => Observed::nothing(Standing::Waiting),
        })
    }

    /// True if something is still where ours was put. Strangers can remove pins and filters, and interfaces go. A link that
    /// runs without its pin is pinned again.
    ///
    /// # Errors
    /// [`KernelError::NamespaceNotFound`]: it may run on, and cannot be changed.
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

    /// The program in a hook's link or filter, whoever put it there; none in a dispatcher, which is not ours.
    pub(crate) fn program_at(&self, hook: &HookRecord) -> Result<Option<ProgramId>, EngineError> {
        match hook.entry {
            Entry::Link => Ok(self.pinned_link(&paths::hook_link(&hook.key))?.map(|facts| facts.program)),
            Entry::Filter { priority, handle } => self.program_in_filter(hook, priority, handle),
            Entry::Dispatcher => Ok(None),
        }
    }

    /// The name of a program that others may have loaded.
    pub(super) fn function_name(&self, program: ProgramId) -> Option<String> {
        self.kernel.program(program).ok().flatten().map(|facts| facts.name)
    }

    /// True if a link does nothing any more though it is pinned: its interface is gone, or it was detached by force.
    pub(crate) fn is_dead(&self, pin: &Path) -> bool {
        // What cannot be asked now is taken to be as it was.
        matches!(self.pinned_link(pin), Ok(Some(facts)) if !facts.is_live())
    }

    /// A program of others, for people.
    pub(crate) fn name_of(&self, program: ProgramId) -> String {
        match self.function_name(program) {
            Some(name) => format!("program {program} \"{name}\""),
            None => format!("program {program}"),
        }
    }
}
