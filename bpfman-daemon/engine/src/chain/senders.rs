//! Keeps tenants' programs from sending packets past the machine's tc and tcx programs.
//!
//! Packets that an XDP program sends skip the programs of tc, and copies that a tc program sends at egress pass only
//! the programs of their target. While the machine has a tc or tcx program in a network namespace, `XDP_TX` or a
//! redirect of a tenant's member therefore drops the packet, and its copies are not sent
//! ([`Unsent`](crate::state::Unsent)). This applies to the whole namespace, because one device may send through another.
//!
//! Chains are rebuilt when the machine's programs change. A chain that cannot be built runs without its tenants'
//! members; if that fails too, it is detached.

use std::collections::HashSet;
use std::sync::Arc;

use bpfman_model::{HookKey, HookNetns, LinkId};
use bpfmand_kernel::{Kernel, TcFilter};

use crate::engine::locks::Subject;
use crate::engine::undo::retry_once;
use crate::state::hook_names::filter_place;
use crate::state::records::{Entry, HookRecord, LinkRecord};
use crate::state::{Change, HookConcern, Loss, Record, RecordKey, SendersConcern, Standing, State};
use crate::{Engine, EngineError, paths};

impl State {
    /// Notes the network namespaces in which a change may alter the permission of tenants' programs to send.
    pub fn note_senders(&mut self, change: &Change) {
        let (old, new) = match change {
            Change::Put(Record::Link(link)) => (self.links.get(&link.id), Some(link)),
            Change::End(RecordKey::Link(id)) => (self.links.get(id), None),
            // A version of another owner, or without a guard, may have another rank.
            Change::Put(Record::Program(program)) => {
                let keys: Vec<HookKey> = self.links_of(program.uid).filter_map(|link| link.hook).collect();
                return self.note_hooks(keys);
            }
            // Programs of the machine may have come while this chain was built.
            Change::Put(Record::Hook(hook)) if hook.unsent != self.unsent_at(&hook.key) => {
                return self.note_hooks(vec![hook.key]);
            }
            _ => return,
        };
        let links = || old.into_iter().chain(new);
        let mut found: Vec<HookKey> = links().filter_map(|link| link.hook).collect();
        // An extension keeps the chain of the extended program from being built.
        let extended = links().filter_map(|link| self.programs.get(&link.program)?.extended());
        found.extend(extended.flat_map(|uid| self.links_of(uid)).filter_map(|link| link.hook));
        self.note_hooks(found);
    }

    fn note_hooks(&mut self, keys: Vec<HookKey>) {
        self.unsettled.extend(keys.iter().map(|key| key.netns));
        self.touched.extend(keys);
    }

    /// Returns the hooks whose chains restrict tenants' members wrongly, or leave some out.
    fn unsettled_hooks(&self, namespaces: &HashSet<HookNetns>, touched: &HashSet<HookKey>) -> Vec<HookKey> {
        let hooks = namespaces.iter().flat_map(|netns| self.links.hooks_in(*netns));
        hooks.filter(|key| self.is_unsettled(key, touched)).collect()
    }

    /// Returns whether the hook's chain has to be rebuilt. A chain that could not be built is retried when its own hook
    /// changes and by checks. If each operation in the namespace retried it, all would have to wait.
    fn is_unsettled(&self, key: &HookKey, touched: &HashSet<HookKey>) -> bool {
        let Some(hook) = self.hooks.get(key) else { return false };
        let is_incomplete = || {
            !hook.withheld.is_empty() || self.is_taken_away(key) || self.senders_concerns.contains_key(key)
        };
        hook.unsent != self.unsent_at(key) || touched.contains(key) && is_incomplete()
    }

    fn senders_at(&self, key: &HookKey) -> Vec<LinkId> {
        let links = self.links.of_hook(key);
        let is_sender = |link: &&Arc<LinkRecord>| {
            let program = self.member(link.program);
            program.is_some_and(|program| !self.unsent(key, link, program).is_empty())
        };
        links.filter(is_sender).map(|link| link.id).collect()
    }

    pub fn is_taken_away(&self, key: &HookKey) -> bool {
        matches!(self.drifted.get(key), Some(Standing::Lost { how: Loss::Sends, .. }))
    }

    /// Returns why a member is left out of the chain of its hook.
    #[must_use]
    pub fn why_withheld(&self, link: &LinkRecord) -> String {
        if let Some(by) = self.extension_of(link.program) {
            return format!("{by} replaces a function of it, and copies in a chain have no extensions");
        }
        let concern = link.hook.and_then(|key| self.senders_concerns.get(&key));
        concern.map_or_else(String::new, |concern| {
            format!("it could send packets past the machine's programs of tc or tcx: {}", concern.why())
        })
    }

    /// Returns whether a hook's chain leaves out a member because an extension replaces a function of it.
    pub fn leaves_out_extended(&self, hook: &HookRecord) -> bool {
        let is_extended = |link: &&Arc<LinkRecord>| {
            hook.withheld.contains(&link.id) && self.extension_of(link.program).is_some()
        };
        self.links.of_hook(&hook.key).any(|link| is_extended(&link))
    }
}

impl<K: Kernel> Engine<K> {
    /// Returns problems of hooks that no link's or chain's status shows.
    #[must_use]
    pub fn hidden_concerns(&self) -> Vec<HookConcern> {
        self.state().hidden_concerns()
    }

    /// Returns the chains with members of tenants that run without barriers against speculative reads.
    #[must_use]
    pub fn chains_without_barriers(&self) -> Vec<HookConcern> {
        self.state().chains_without_barriers()
    }

    pub(crate) fn settle_all_senders(&self) {
        {
            let mut state = self.state();
            let all: Vec<_> = state.links.namespaces().collect();
            let hooks: Vec<_> = all.iter().flat_map(|netns| state.links.hooks_in(*netns)).collect();
            state.unsettled.extend(all);
            state.touched.extend(hooks);
        }
        self.settle_senders();
    }

    /// Rebuilds the chains that changed records affect. The caller holds no hook's lock.
    pub(crate) fn settle_senders(&self) {
        let (hooks, touched) = {
            let mut state = self.state();
            let (namespaces, touched) =
                (std::mem::take(&mut state.unsettled), std::mem::take(&mut state.touched));
            (state.unsettled_hooks(&namespaces, &touched), touched)
        };
        for key in hooks {
            let _lock = self.lock(Subject::Hook(key));
            let hook = {
                let state = self.state();
                state.hooks.get(&key).filter(|_| state.is_unsettled(&key, &touched)).cloned()
            };
            if let Some(hook) = hook {
                self.settle_senders_at(&hook);
            }
        }
    }

    fn settle_senders_at(&self, hook: &Arc<HookRecord>) {
        let key = hook.key;
        let concern = match retry_once(|| self.with_all_members(&key)) {
            Ok(()) => None,
            Err(error) => Some(self.held_back(hook, &error)),
        };
        let before = match concern.clone() {
            Some(concern) => self.state().senders_concerns.insert(key, concern),
            None => self.state().senders_concerns.remove(&key),
        };
        if before == concern {
            return;
        }
        let hook = key.kind.at(&hook.interface);
        match concern {
            Some(concern @ SendersConcern::Unblocked(_)) => tracing::error!(hook, "{concern}"),
            Some(concern) => tracing::warn!(hook, "{concern}"),
            None => tracing::info!(hook, "its chain has all its members again"),
        }
        self.announce_change();
    }

    /// Runs the chain without the members of tenants that could send packets, or not at all.
    fn held_back(&self, hook: &Arc<HookRecord>, error: &EngineError) -> SendersConcern {
        let key = hook.key;
        let senders = self.state().senders_at(&key);
        if senders.is_empty() {
            return SendersConcern::Blocked(error.to_string());
        }
        if self.is_taken_away(&key) {
            return SendersConcern::Detached(error.to_string());
        }
        let has_all = senders.iter().all(|sender| hook.withheld.contains(sender));
        let without = || self.rebuild("senders", &self.hook_as_of_now(hook).into(), &senders);
        match if has_all { Ok(()) } else { retry_once(without) } {
            Ok(()) => SendersConcern::LeftOut(error.to_string()),
            Err(why) => match self.take_away(hook, &senders, &why) {
                Ok(()) => SendersConcern::Detached(error.to_string()),
                Err(error) => SendersConcern::Unblocked(error.to_string()),
            },
        }
    }

    fn with_all_members(&self, key: &HookKey) -> Result<(), EngineError> {
        let (hook, links) = {
            let state = self.state();
            (state.hooks.get(key).cloned(), state.chain(key))
        };
        let Some(hook) = hook else { return Ok(()) };
        if !self.is_taken_away(key) {
            return self.rebuild("senders", &hook, &[]);
        }
        self.step("senders", "enter again");
        self.reenter_hook(&hook, &links)?;
        self.state().drifted.remove(key);
        Ok(())
    }

    fn is_taken_away(&self, key: &HookKey) -> bool {
        self.state().is_taken_away(key)
    }

    fn take_away(&self, hook: &HookRecord, senders: &[LinkId], why: &EngineError) -> Result<(), EngineError> {
        let key = hook.key;
        let links = self.state().chain(&key);
        let is_theirs = links.iter().all(|link| senders.contains(&link.id));
        self.step("senders", "detach");
        match hook.entry {
            Entry::Link if is_theirs => retry_once(|| Ok(self.kernel.end_link(&paths::hook_link(&key))?))?,
            Entry::Filter { priority, handle } if is_theirs => {
                if let Some(at) = filter_place(&key, &hook.interface, TcFilter { priority, handle }) {
                    retry_once(|| Ok(self.kernel.remove_filter(&at, hook.program)?))?;
                }
            }
            _ => {
                let what = format!(
                    "{} has programs of others, which would go, too: {why}",
                    key.kind.at(&hook.interface)
                );
                return Err(EngineError::Fault(what));
            }
        }
        self.state().drifted.insert(key, Standing::lost(Loss::Sends).because(why));
        Ok(())
    }
}
