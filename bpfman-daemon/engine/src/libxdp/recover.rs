//! Recovers dispatcher changes that a crash interrupted, and follows dispatchers that libxdp rebuilt.

use std::path::{Path, PathBuf};

use bpfman_model::{
    HookAttachment, HookKey, HookKind, IfIndex, Interface, NetnsId, OperationId, ProgramId, XdpRunsIn,
};
use bpfmand_kernel::{Kernel, KernelError};

use crate::libxdp::DispatcherAtHook;
use crate::state::filter_pin::{netns_name, parse_netns_name};
use crate::state::records::{Entry, HookRecord};
use crate::state::{HookPresence, XdpPlacement};
use crate::{Engine, EngineError, paths};

pub const AFTER: &str = "after";

/// Returns a pin's name that encodes the hook; the namespace's path in base64, since bpffs allows no slash or dot.
pub fn before_pin(key: &HookKey, interface: &Interface) -> String {
    let netns = netns_name(interface);
    let NetnsId { inode, cookie } = key.netns.into();
    format!("dispatcher_{}_{inode}_{cookie}_{netns}", key.ifindex)
}

fn parse_before_pin(name: &str) -> Option<(HookKey, Option<PathBuf>)> {
    let mut parts = name.strip_prefix("dispatcher_")?.splitn(4, '_');
    let ifindex = IfIndex(parts.next()?.parse().ok()?);
    let netns = NetnsId { inode: parts.next()?.parse().ok()?, cookie: parts.next()?.parse().ok()? };
    let path = parse_netns_name(parts.next()?)?;
    Some((HookKey { netns: netns.into(), ifindex, kind: HookKind::Xdp }, path))
}

impl<K: Kernel> Engine<K> {
    /// Returns a hook's program, if it has one. [`KernelError::NamespaceNotFound`]: it may still run one.
    pub(super) fn runs_at(
        &self,
        netns: Option<&Path>,
        key: &HookKey,
    ) -> Result<Option<(ProgramId, XdpRunsIn)>, EngineError> {
        let number = self.state().hooks.get(key).and_then(|hook| hook.number.clone());
        let entries = match self.at_hook_key(netns, key, number.as_ref())? {
            HookPresence::There(entries) => entries,
            HookPresence::Gone => return Ok(None),
            HookPresence::Unreachable => {
                let (subject, netns) = (format!("XDP of interface {}", key.ifindex), key.netns.into());
                return Err(KernelError::NamespaceNotFound { subject, netns }.into());
            }
        };
        Ok(entries.iter().find_map(|entry| match (&entry.via, entry.program) {
            (HookAttachment::XdpNetlink { mode }, Some(id)) => Some((id, *mode)),
            _ => None,
        }))
    }

    /// Finishes a dispatcher change that has a record, and undoes one that has none. False for other operations.
    pub(crate) fn settle_dispatcher(&self, operation: OperationId) -> Result<bool, EngineError> {
        let pending = paths::pending(operation);
        let names = self.kernel.list_folder(&pending)?;
        let found = names.iter().find_map(|name| Some((name, parse_before_pin(name)?)));
        let Some((name, (key, netns))) = found else { return Ok(false) };
        let open = |name: &str| -> Result<Option<(ProgramId, K::Handle)>, EngineError> {
            let Some(handle) = self.kernel.open_pin(&pending.join(name))? else { return Ok(None) };
            Ok(Some((self.kernel.program_of(&handle)?.id, handle)))
        };
        let (before, after) = (open(name)?, open(AFTER)?);
        let _lock = self.kernel.lock_folder(&self.options.libxdp_pins)?;
        let netns = netns.as_deref();
        let mut running = self.runs_at(netns, &key)?;
        if let (Some((before, old)), Some((after, new)), Some((id, mode))) = (&before, &after, running) {
            let recorded = self.state().hooks.get(&key).map(|hook| hook.program);
            if id == *after && recorded != Some(id) {
                self.kernel.replace_unlinked_xdp(netns, &key, mode, Some(old), Some(new))?;
                running = Some((*before, mode));
            }
        }
        for id in [before, after].into_iter().flatten().map(|(id, _)| id) {
            if running.is_none_or(|(running, _)| running != id) {
                self.remove_tree(&self.dispatcher_folder(key.ifindex, id)?)?;
            }
        }
        self.remove_tree(&pending)?;
        Ok(true)
    }

    /// Returns the hook's dispatcher; `None` if it has none of the recorded programs.
    pub(crate) fn dispatcher_with_own_programs(
        &self,
        hook: &HookRecord,
    ) -> Result<Option<DispatcherAtHook<K::Handle>>, EngineError> {
        let standing = match self.changeable_dispatcher(&hook.interface, &hook.key) {
            Err(EngineError::Dispatcher { .. } | EngineError::Kernel(KernelError::HookGone { .. })) => None,
            Err(EngineError::Kernel(KernelError::NamespaceNotFound { .. }))
                if matches!(self.at_hook_of(hook)?, HookPresence::Gone) =>
            {
                None
            }
            result => result?,
        };
        let has_some = |standing: &DispatcherAtHook<_>| {
            let is_empty = hook.extensions.is_empty() && !hook.withheld.is_empty();
            is_empty || hook.extensions.iter().any(|extension| standing.has(extension.program, extension.tag))
        };
        Ok(standing.filter(has_some))
    }

    /// Updates the record if libxdp has rebuilt the dispatcher with our programs. Hold the hook's lock.
    pub(crate) fn follow_dispatcher(&self, hook: &HookRecord) -> Result<(), EngineError> {
        if hook.entry != Entry::Dispatcher {
            return Ok(());
        }
        let Some(dispatcher) = self.dispatcher_with_own_programs(hook)? else { return Ok(()) };
        let program = &dispatcher.program;
        if (hook.program, hook.tag) == (program.id, program.tag) {
            return Ok(());
        }
        let xdp = Some(XdpPlacement::of(dispatcher.mode));
        let followed = HookRecord { program: program.id, tag: program.tag, xdp, ..hook.clone() };
        self.record_hook(followed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_pin_says_where_a_dispatcher_belongs() {
        let key = HookKey {
            netns: NetnsId { inode: 4_026_531_840, cookie: 7 }.into(),
            ifindex: IfIndex(12),
            kind: HookKind::Xdp,
        };
        for netns in [None, Some(PathBuf::from("/run/netns/a_b.c"))] {
            let interface = Interface { name: "eth0".to_owned(), netns: netns.clone() };
            assert_eq!(parse_before_pin(&before_pin(&key, &interface)), Some((key, netns)));
        }
        assert_eq!(parse_before_pin("link"), None);
    }
}
