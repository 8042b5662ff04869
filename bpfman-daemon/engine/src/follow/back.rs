//! Attaches waiting hooks and links again when their interfaces have returned.

use std::collections::HashSet;
use std::sync::Arc;

use bpfman_model::{HookKey, HookKind, InterfaceFacts, LinkId};
use bpfmand_kernel::Kernel;

use crate::engine::locks::Subject;
use crate::follow::{FollowReport, Present};
use crate::state::records::{HookRecord, LinkRecord};
use crate::state::waiting::may_return;
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    /// Attaches a waiting hook. If another chain of ours is at the interface by now, the members join it.
    pub(crate) fn bring_hook_back(
        &self,
        parked: &HookKey,
        present: &Present<'_>,
        facts: &InterfaceFacts,
        report: &mut FollowReport,
    ) -> Result<(), EngineError> {
        let key = HookKey { netns: present.netns.into(), ifindex: facts.ifindex, kind: parked.kind };
        let _locks = self.lock_members(&[*parked, key])?;
        let Some(hook) = self.state().hooks.get(parked).cloned() else { return Ok(()) };
        let pin = paths::hook_link(parked);
        if let Some((_, link)) = self.live_link(&pin)? {
            // The link is still attached to its moved interface: update the record if the interface was moved back.
            if !self.state().hooks.contains_key(&key) && self.kernel.is_link_at(present.path, &key, &link)? {
                let links = self.state().chain(parked);
                let interface = present.interface(facts);
                self.move_record(&HookRecord { interface, ..(*hook).clone() }, key, &links)?;
                report.returned += 1;
            }
            return Ok(());
        }
        self.end_dead_link(&pin, hook.adopted_link)?;
        let (made, asked): (Vec<_>, Vec<_>) =
            self.state().chain(parked).into_iter().partition(|link| link.matching.is_some());
        self.remove_made(made)?;
        // Two paths that led to one namespace may lead to different ones now.
        let is_named = |link: &LinkRecord| {
            let path = link.point.hook().map(|(interface, _)| interface.netns.as_deref());
            path.is_some_and(|path| path == present.path || self.kernel.leads_to(path, present.netns))
        };
        let may_return =
            |link: &&Arc<LinkRecord>| is_named(link) && may_return(link, &self.boot, present.netns.into());
        let links: Vec<_> = asked.iter().filter(may_return).cloned().collect();
        if links.is_empty() && !asked.is_empty() {
            return Ok(());
        }
        let from = HashSet::from([*parked]);
        if links.is_empty() {
            return if self.state().hooks.contains_key(parked) {
                self.record_moves(&from, &[])
            } else {
                Ok(())
            };
        }
        let interface = present.interface(facts);
        if self.state().hooks.contains_key(&key) {
            for link in &links {
                let operation = self.operation();
                let link = LinkRecord {
                    hook: Some(key),
                    operation,
                    boot: self.boot.clone(),
                    waits_in: None,
                    ..(**link).clone()
                };
                self.attach_member(&interface, &key, link)?;
            }
            if links.len() == asked.len() {
                self.record_moves(&from, &[])?;
            }
        } else {
            let moved = self.at_hook(HookRecord { key, interface, ..(*hook).clone() }, &links);
            let from = if links.len() == asked.len() { from } else { HashSet::new() };
            self.record_moves(&from, std::slice::from_ref(&moved))?;
            self.reenter_hook(&moved.0, &moved.1)?;
        }
        report.returned += 1;
        Ok(())
    }

    pub(crate) fn bring_link_back(
        &self,
        id: LinkId,
        present: &Present<'_>,
        facts: &InterfaceFacts,
        report: &mut FollowReport,
    ) -> Result<(), EngineError> {
        let Some((link, _held)) = self.lock_link(id) else { return Ok(()) };
        let Some((_, kind @ HookKind::Tcx(_))) = link.point.hook() else { return Ok(()) };
        if link.hook.is_some() || !may_return(&link, &self.boot, present.netns.into()) {
            return Ok(());
        }
        let key = HookKey { netns: present.netns.into(), ifindex: facts.ifindex, kind };
        let _hook_lock = self.lock(Subject::Hook(key));
        let pin = paths::link(id);
        if let Some((_, facts)) = self.live_link(&pin)? {
            if self.kernel.is_link_at(present.path, &key, &facts)? {
                self.record_place_of(&link, Some(key))?;
                report.returned += 1;
            }
            return Ok(());
        }
        self.end_dead_link(&pin, link.adopted)?;
        if link.matching.is_some() {
            self.remove("follow", std::slice::from_ref(&link), None)?;
        } else {
            self.reattach(&link)?;
        }
        report.returned += 1;
        Ok(())
    }
}
