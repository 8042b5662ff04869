//! Interfaces that are gone: what was attached for all that match goes with them, what was attached by name waits.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use bpfmand_core::{HookKey, LinkId, ProgramUid};
use bpfmand_kernel::{Kernel, KernelError};

use crate::follow::FollowReport;
use crate::state::records::{Entry, LinkRecord};
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    /// Lets go of a hook whose interface is no longer in its namespace, which has this file. The look that said so may be
    /// old: others attach to new interfaces meanwhile.
    ///
    /// An interface that was moved to another namespace takes its XDP and tcx programs along. What was attached there by
    /// name stays then, since nobody asked to end it.
    pub(crate) fn let_hook_go(
        &self,
        key: &HookKey,
        netns: Option<&Path>,
        report: &mut FollowReport,
    ) -> Result<(), EngineError> {
        let _locks = self.lock_members(&[*key])?;
        let Some(hook) = self.state().hooks.get(key).cloned() else { return Ok(()) };
        if self.is_entered(&hook)? && self.is_there(key, netns)? {
            return Ok(());
        }
        // The kernel removes all queueing disciplines of an interface that is moved, and what libxdp attaches has no link
        // that could go with it.
        let lives_on = hook.entry == Entry::Link && self.live_link(&paths::hook_link(key))?.is_some();
        let links = self.state().chain(key);
        let (made, asked): (Vec<_>, Vec<_>) = links.into_iter().partition(|link| link.matching.is_some());
        if lives_on && made.is_empty() {
            return if self.hook_is_elsewhere(&hook)? { self.set_aside(&hook) } else { Ok(()) };
        }
        if !lives_on && hook.entry == Entry::Link {
            // Nothing runs by it any more, and its place may be wanted for another interface with this number.
            self.end_dead_link(&paths::hook_link(key), hook.adopted_link)?;
        }
        report.detached += self.remove_made(made)?;
        if asked.is_empty() {
            return Ok(());
        }
        let Some(hook) = self.state().hooks.get(key).cloned() else { return Ok(()) };
        if lives_on {
            return if self.hook_is_elsewhere(&hook)? { self.set_aside(&hook) } else { Ok(()) };
        }
        let placed = self.at_hook(self.parked(&hook, &asked), &asked);
        self.step("follow", "wait for interface");
        self.record_moves(&HashSet::from([*key]), &[placed])?;
        self.state().drifted.remove(key);
        report.waiting += 1;
        Ok(())
    }

    /// True if an interface is in its namespace, which has this file, at this moment.
    fn is_there(&self, key: &HookKey, netns: Option<&Path>) -> Result<bool, EngineError> {
        match self.present(netns) {
            Ok(present) => {
                Ok(key.netns.id() == Some(present.netns) && present.interfaces.contains_key(&key.ifindex))
            }
            Err(EngineError::Kernel(KernelError::NoNamespace { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends a link that runs nothing any more. One that others made and may hold still is only let go.
    pub(crate) fn end_dead_link(&self, pin: &Path, adopted: bool) -> Result<(), EngineError> {
        if adopted {
            return Ok(self.kernel.unpin(pin)?);
        }
        Ok(self.kernel.end_link(pin)?)
    }

    /// Removes links that attachments to matching interfaces made. The caller holds the locks of hooks and programs.
    pub(crate) fn remove_made(&self, links: Vec<Arc<LinkRecord>>) -> Result<usize, EngineError> {
        let count = links.len();
        let mut by_program: BTreeMap<ProgramUid, Vec<Arc<LinkRecord>>> = BTreeMap::new();
        for link in links {
            by_program.entry(link.program).or_default().push(link);
        }
        for links in by_program.values() {
            self.remove("follow", links, None)?;
        }
        Ok(count)
    }

    /// Lets go of a tcx link whose interface is no longer in its namespace.
    pub(crate) fn let_link_go(
        &self,
        id: LinkId,
        netns: Option<&Path>,
        report: &mut FollowReport,
    ) -> Result<(), EngineError> {
        let Some((link, _held)) = self.lock_link(id) else { return Ok(()) };
        let Some(key) = link.hook else { return Ok(()) };
        let pin = paths::link(id);
        let lives_on = self.live_link(&pin)?.is_some();
        if lives_on && self.is_there(&key, netns)? {
            return Ok(());
        }
        if link.matching.is_some() {
            self.remove("follow", &[link], None)?;
            report.detached += 1;
            return Ok(());
        }
        if lives_on {
            return if self.link_is_elsewhere(&link)? { self.record_place_of(&link, None) } else { Ok(()) };
        }
        self.end_dead_link(&pin, link.adopted)?;
        let waiting = LinkRecord { hook: None, waits_in: key.netns.id(), ..(*link).clone() };
        self.step("follow", "wait for interface");
        self.record_link(&Arc::new(waiting), None)?;
        self.state().drifted_links.remove(&id);
        report.waiting += 1;
        Ok(())
    }
}
