//! Dispatchers that went along with their interface to another network namespace: XDP that was attached without a link
//! runs on there, and its record follows. Programs of attachments to matching interfaces leave it.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bpfman_model::{HookAttachment, HookEntry, HookKey, HookKind};
use bpfmand_kernel::Kernel;

use crate::engine::RecoveryReport;
use crate::engine::undo::undoing;
use crate::error::Interference;
use crate::state::HookPresence;
use crate::state::records::{Entry, HookRecord};
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    fn moved_dispatcher(&self, hook: &HookRecord) -> Result<Option<HookRecord>, EngineError> {
        let is_dispatcher = hook.entry == Entry::Dispatcher && hook.key.netns.id().is_some();
        // Ids of an earlier boot may belong to other programs now.
        if !is_dispatcher || !self.is_of_now(hook) {
            return Ok(None);
        }
        let runs_somewhere = self.kernel.program(hook.program)?.is_some_and(|facts| facts.tag == hook.tag);
        if !runs_somewhere {
            return Ok(None);
        }
        let runs = |entries: &[HookEntry]| {
            entries.iter().any(|entry| {
                matches!(entry.via, HookAttachment::XdpNetlink { .. }) && entry.program == Some(hook.program)
            })
        };
        match self.at_hook_of(hook)? {
            HookPresence::Unreachable => return Ok(None),
            HookPresence::There(entries) if runs(&entries) => return Ok(None),
            HookPresence::There(_) | HookPresence::Gone => {}
        }
        let all = self.kernel.all_namespaces().into_iter().map(Some);
        let namespaces: BTreeSet<_> = std::iter::once(None).chain(all).collect();
        let found = self.hooks_in(namespaces, &[HookKind::Xdp], |_| true);
        let moved = found.into_iter().find(|(_, _, contents)| runs(&contents.entries));
        Ok(moved.map(|(interface, key, _)| HookRecord { key, interface, number: None, ..hook.clone() }))
    }

    /// Follows a moved dispatcher. Returns the number of ended links; `None` if it had not moved. Hold no lock.
    pub(crate) fn follow_moved_dispatcher(&self, key: &HookKey) -> Result<Option<usize>, EngineError> {
        let find = || self.state().hooks.get(key).cloned();
        let Some(hook) = find() else { return Ok(None) };
        let Some(moved) = self.moved_dispatcher(&hook)? else { return Ok(None) };
        let _locks = self.lock_members(&[*key, moved.key])?;
        if !find().is_some_and(|now| Arc::ptr_eq(&now, &hook)) || self.moved_dispatcher(&hook)?.is_none() {
            return Ok(None);
        }
        if self.state().hooks.contains_key(&moved.key) {
            return Err(Interference::PlaceTaken.into());
        }
        let (to, links) = (moved.key, self.state().chain(key));
        let namespace = self.hold_namespace(&to);
        undoing(|undo| {
            let placed = self.at_hook(self.numbered(moved, undo)?, &links);
            self.step("follow", "move record");
            self.record_moves(&HashSet::from([*key]), &[placed])
        })?;
        drop(namespace);
        if let Some(former) = key.netns.id() {
            self.forget_namespace(former);
        }
        self.state().drifted.remove(key);
        let made = self.state().chain(&to).into_iter().filter(|link| link.matching.is_some()).collect();
        self.remove_made(made).map(Some)
    }

    /// Follows the dispatchers of these hooks. Call it before an attachment of them is removed, and hold no lock.
    pub(crate) fn follow_moved_dispatchers_at(
        &self,
        hooks: impl IntoIterator<Item = HookKey>,
    ) -> Result<(), EngineError> {
        hooks.into_iter().try_for_each(|key| self.follow_moved_dispatcher(&key).map(drop))
    }

    pub(crate) fn follow_moved_dispatchers(&self, report: &mut RecoveryReport) {
        let hooks: Vec<Arc<HookRecord>> = self.state().hooks.values().cloned().collect();
        for hook in hooks.into_iter().filter(|hook| hook.entry == Entry::Dispatcher) {
            if let Err(error) = self.follow_moved_dispatcher(&hook.key) {
                report.of_hook(&hook, &error);
            }
        }
    }
}
