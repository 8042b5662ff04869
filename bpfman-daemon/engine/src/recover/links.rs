//! Recovery of links that are not members of chains.

use std::sync::Arc;

use bpfman_model::{AttachPoint, HookKey, NetnsId};
use bpfmand_kernel::{FoundNamespace, Kernel, KernelError};

use crate::engine::RecoveryReport;
use crate::engine::undo::{retry_once, undoing};
use crate::standing::LinkWalk;
use crate::state::HookPresence;
use crate::state::records::LinkRecord;
use crate::state::waiting::may_return;
use crate::{Engine, EngineError, paths};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecoveredLinks {
    Extensions,
    Others,
}

impl<K: Kernel> Engine<K> {
    pub(super) fn recover_links(&self, which: RecoveredLinks, report: &mut RecoveryReport) {
        let links: Vec<Arc<LinkRecord>> = self.state().links.values().cloned().collect();
        let is_meant = |link: &Arc<LinkRecord>| {
            let of_extension = matches!(link.point, AttachPoint::Freplace);
            of_extension == (which == RecoveredLinks::Extensions) && !link.is_in_chain()
        };
        let links: Vec<_> = links.into_iter().filter(is_meant).collect();
        let (all, walk) = (links.len(), LinkWalk::default());
        for (done, link) in links.into_iter().enumerate() {
            self.options.observer.recovered("links put back", done, all);
            let result = self.recover_link(&link, &walk, report);
            report.note(format!("link {}", link.id), result);
        }
    }

    fn recover_link(
        &self,
        link: &Arc<LinkRecord>,
        walk: &LinkWalk,
        report: &mut RecoveryReport,
    ) -> Result<(), EngineError> {
        let was_unpinned = self.pin_link_again(link, walk)?;
        if link.point.is_per_cpu() {
            if self.observe_alone(link)?.standing.is_running() {
                return Ok(());
            }
        } else if let Some(handle) = self.kernel.open_pin(&paths::link(link.id))? {
            report.reattached += usize::from(self.mend_link(link, &handle, was_unpinned)?);
            return Ok(());
        }
        match self.reattach(link) {
            Ok(()) => report.reattached += 1,
            Err(error) => {
                report.problems.push(format!("link {}: {error}", link.id));
                if link.point.hook().is_none() {
                    let standing = self.observe_alone(link)?.standing.because(&error);
                    self.state().drifted_links.insert(link.id, standing);
                }
                self.forget_hook(link)?;
            }
        }
        Ok(())
    }

    /// Removes a hook of another boot from the record: its numbers may belong to another hook now.
    fn forget_hook(&self, link: &LinkRecord) -> Result<(), EngineError> {
        if link.boot == self.boot || link.hook.is_none() {
            return Ok(());
        }
        self.record_link(&Arc::new(LinkRecord { hook: None, ..link.clone() }), None)
    }

    /// Returns the recorded hook if it still exists, or the one that its path leads to.
    /// [`KernelError::NamespaceNotFound`]: the namespace may still exist, and its path may lead to another one.
    fn hook_again(&self, link: &LinkRecord) -> Result<Option<HookKey>, EngineError> {
        let Some((interface, kind)) = link.point.hook() else { return Ok(None) };
        if let Some(key) = link.hook.filter(|_| link.boot == self.boot) {
            match self.at_hook_key(interface.netns.as_deref(), &key, None)? {
                HookPresence::There(_) => return Ok(Some(key)),
                HookPresence::Unreachable => {
                    let (subject, netns) = (kind.at(interface), key.netns.into());
                    return Err(KernelError::NamespaceNotFound { subject, netns }.into());
                }
                HookPresence::Gone => {}
            }
        }
        Ok(Some(self.kernel.find_hook(interface, kind)?))
    }

    /// Returns the recorded namespace of a link, as long as it may exist, or the one that its path leads to.
    fn namespace_again(&self, link: &LinkRecord) -> Result<Option<NetnsId>, EngineError> {
        let is_current = link.boot == self.boot;
        if let (true, Some(home), Some(netns)) = (is_current, link.namespace, link.point.netns()) {
            match self.kernel.find_namespace(home, netns.as_deref(), None)? {
                FoundNamespace::At(_) | FoundNamespace::Own => return Ok(Some(home)),
                // A link that lost its namespace is gone. Without a pin, that is unknown.
                FoundNamespace::NotFound if !self.is_dead(&paths::link(link.id)) => {
                    let subject = link.point.to_string();
                    return Err(KernelError::NamespaceNotFound { subject, netns: home }.into());
                }
                FoundNamespace::NotFound | FoundNamespace::Ended => {}
            }
        }
        // A network namespace that is gone took its process with it.
        if link.point.names_process() && (!is_current || link.point.netns().is_some()) {
            return Err(EngineError::EarlierProcess { link: link.id, point: link.point.to_string() });
        }
        self.namespace_at(&link.point)
    }

    pub(crate) fn reattach(&self, link: &Arc<LinkRecord>) -> Result<(), EngineError> {
        let namespace = self.namespace_again(link)?;
        self.check_processes_are_known(link)?;
        self.check_probe_again(link)?;
        let program = self.record(link.program).ok_or(EngineError::NoLink(link.id))?;
        self.ensure_not_lost([&**link])?;
        let handle = self.loaded_program(program.id)?;
        let hook = self.hook_again(link)?;
        if hook.is_some_and(|key| !may_return(link, &self.boot, key.netns)) {
            return Err(EngineError::EarlierProcess { link: link.id, point: link.point.to_string() });
        }
        let restored = Arc::new(LinkRecord {
            hook,
            operation: self.operation(),
            boot: self.boot.clone(),
            adopted: false,
            waits_in: None,
            namespace,
            guard: self.guarded_again(&program, link)?,
            ..(**link).clone()
        });
        let target = || self.link_target(&program, &restored);
        undoing(|undo| {
            // The tcx anchors are chosen among the present links of the hook.
            self.state().links.insert(link.id, Arc::clone(&restored));
            undo.push_sure(|| self.state().links.insert(link.id, Arc::clone(link)));
            let targets = self
                .attach_retrying(&handle, target, restored.operation, undo)
                .map_err(|error| self.with_own_holder(&restored, error).looking_for(&restored.point))?;
            self.check_same_processes(&program, &restored, &targets)?;
            self.record_link(&Arc::new(LinkRecord { targets, ..(*restored).clone() }), None)
        })?;
        retry_once(|| self.place_link(&restored))
    }
}
