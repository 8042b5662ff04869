//! Releases interfaces that are gone: attachments to matching interfaces end, attachments by name wait.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpfman_model::{HookKey, Interface, LinkId, NetnsId, ProgramUid};
use bpfmand_kernel::Kernel;

use crate::follow::FollowReport;
use crate::state::records::{Entry, HookRecord, LinkRecord};
use crate::state::{Changes, HookPresence};
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    /// Releases a hook whose interface may have left its namespace, unless it is still there. A moved interface takes
    /// its XDP and tcx programs along: attachments by name stay, since no request ended them.
    pub(crate) fn let_hook_go(&self, key: &HookKey, report: &mut FollowReport) -> Result<(), EngineError> {
        if let Some(ended) = self.follow_moved_dispatcher(key)? {
            report.detached += ended;
            return Ok(());
        }
        let _locks = self.lock_members(&[*key])?;
        let Some(hook) = self.state().hooks.get(key).cloned() else { return Ok(()) };
        let found = self.at_hook_of(&hook)?;
        // Without a link, wait until the namespace is found or has ended: a running filter needs its chain.
        match found {
            HookPresence::Unreachable if hook.entry != Entry::Link => return Ok(()),
            HookPresence::There(_) | HookPresence::Unreachable if self.is_entered(&hook)? => {
                return self.follow_paths(&hook, report);
            }
            HookPresence::There(_) | HookPresence::Unreachable | HookPresence::Gone => {}
        }
        // The kernel removes all queueing disciplines of a moved interface.
        let lives_on = hook.entry == Entry::Link && self.live_link(&paths::hook_link(key))?.is_some();
        let links = self.state().chain(key);
        let (made, asked): (Vec<_>, Vec<_>) = links.into_iter().partition(|link| link.matching.is_some());
        if lives_on && made.is_empty() {
            return if self.hook_is_elsewhere(&hook)? { self.set_aside(&hook) } else { Ok(()) };
        }
        if !lives_on && hook.entry == Entry::Link {
            // The link runs nothing any more, and another interface with this number may need its place.
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
        if let Some(home) = key.netns.id() {
            self.forget_namespace(home);
        }
        Ok(())
    }

    /// Follows the paths of the namespace in which a hook continues. Links of attachments to matching interfaces end,
    /// unless a path of theirs still leads there. The caller holds hook and members.
    fn follow_paths(&self, hook: &HookRecord, report: &mut FollowReport) -> Result<(), EngineError> {
        let Some(home) = hook.key.netns.id() else { return Ok(()) };
        let (mut left, mut renamed, mut name) = (Vec::new(), Changes::default(), None);
        let links = self.state().chain(&hook.key);
        for link in links {
            let Some((interface, _)) = link.point.hook() else { continue };
            if self.kernel.leads_to(interface.netns.as_deref(), home) {
                name.get_or_insert_with(|| interface.clone());
            } else if link.matching.is_some() {
                match self.covering_path(&link, home) {
                    Some(netns) => {
                        name.get_or_insert_with(|| Interface { netns: netns.clone(), ..interface.clone() });
                        renamed.put_link(at_path(&link, netns));
                    }
                    None => left.push(link),
                }
            }
        }
        report.detached += self.remove_made(left)?;
        let hook = self.state().hooks.get(&hook.key).cloned();
        if let (Some(hook), Some(interface)) = (hook, name)
            && !self.kernel.leads_to(hook.interface.netns.as_deref(), home)
        {
            renamed.put_hook(HookRecord { interface, ..(*hook).clone() });
        }
        if renamed.all.is_empty() {
            return Ok(());
        }
        self.step("follow", "name by another path");
        self.commit(renamed).map(drop)
    }

    fn covering_path(&self, link: &LinkRecord, home: NetnsId) -> Option<Option<PathBuf>> {
        let matching = self.state().matchings.get(&link.matching?).cloned()?;
        let mut paths = self.namespaces_of(&matching.interfaces).into_iter();
        paths.find(|path| self.kernel.leads_to(path.as_deref(), home))
    }

    /// Ends a dead link. An adopted link, which others may still hold, is only unpinned.
    pub(crate) fn end_dead_link(&self, pin: &Path, adopted: bool) -> Result<(), EngineError> {
        if adopted {
            return Ok(self.kernel.unpin(pin)?);
        }
        Ok(self.kernel.end_link(pin)?)
    }

    /// Removes links of attachments to matching interfaces. The caller holds the locks of hooks and programs.
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

    pub(crate) fn let_link_go(&self, id: LinkId, report: &mut FollowReport) -> Result<(), EngineError> {
        let Some((link, _held)) = self.lock_link(id) else { return Ok(()) };
        let (Some(key), Some((interface, _))) = (link.hook, link.point.hook()) else { return Ok(()) };
        let pin = paths::link(id);
        let lives_on = self.live_link(&pin)?.is_some();
        let netns = interface.netns.as_deref();
        if lives_on {
            let is_named = key.netns.id().is_some_and(|home| self.kernel.leads_to(netns, home));
            let is_there = !matches!(self.at_hook_key(netns, &key, None)?, HookPresence::Gone);
            if is_there && (is_named || link.matching.is_none()) {
                return Ok(());
            }
            if is_there && let Some(netns) = key.netns.id().and_then(|home| self.covering_path(&link, home)) {
                self.step("follow", "name by another path");
                return self.record_link(&Arc::new(at_path(&link, netns)), None);
            }
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

fn at_path(link: &LinkRecord, netns: Option<PathBuf>) -> LinkRecord {
    let mut named = link.clone();
    if let Some(interface) = named.point.interface_mut() {
        interface.netns = netns;
    }
    named
}
