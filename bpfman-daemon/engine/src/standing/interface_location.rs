//! Detects whether the interface of a hook exists, by the identity of its network namespace: a recorded path may lead
//! elsewhere by now. A hook is gone only once the kernel reports that the namespace has ended or lacks the interface.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfman_model::{AttachPoint, HookKey, HookKind, Interface, NetnsId};
use bpfmand_kernel::{FoundNamespace, Kernel, KernelError, SearchOnce};

use crate::engine::locks::{Guard, Subject};
use crate::state::namespace_number::NamespaceNumber;
use crate::state::records::{HookRecord, LinkRecord};
use crate::state::{HookPresence, Standing};
use crate::{CallersNetwork, Engine, EngineError};

const MAX_END: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(200);
const LOOPBACK: &str = "lo";

impl<K: Kernel> Engine<K> {
    pub(crate) fn at_hook_key(
        &self,
        netns: Option<&Path>,
        key: &HookKey,
        number: Option<&NamespaceNumber>,
    ) -> Result<HookPresence, EngineError> {
        let _search = SearchOnce::begin();
        match self.kernel.hook_contents(netns, key) {
            Ok(contents) => Ok(HookPresence::There(contents.entries)),
            Err(KernelError::HookGone { .. }) => Ok(HookPresence::Gone),
            Err(KernelError::NamespaceNotFound { .. }) => Ok(match self.has_ended(netns, key, number)? {
                true => HookPresence::Gone,
                false => HookPresence::Unreachable,
            }),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn at_hook_of(&self, hook: &HookRecord) -> Result<HookPresence, EngineError> {
        let netns = hook.interface.netns.as_deref();
        match self.at_hook_key(netns, &hook.key, hook.number.as_ref())? {
            // A namespace does not outlive its boot.
            HookPresence::Unreachable if !self.is_of_now(hook) => Ok(HookPresence::Gone),
            found => Ok(found),
        }
    }

    pub(crate) fn has_ended(
        &self,
        netns: Option<&Path>,
        key: &HookKey,
        number: Option<&NamespaceNumber>,
    ) -> Result<bool, EngineError> {
        let Some(home) = key.netns.id() else { return Ok(true) };
        if number.is_some_and(|number| number.boot != self.boot) {
            return Ok(true);
        }
        let number = number.map(NamespaceNumber::in_kernel);
        Ok(self.kernel.find_namespace(home, netns, number)? == FoundNamespace::Ended)
    }

    /// Waits for the end of a namespace: the kernel ends it some time after the last process has left it.
    pub(crate) fn ends_soon(&self, hook: &HookRecord) -> Result<bool, EngineError> {
        let began = Instant::now();
        loop {
            match self.at_hook_of(hook)? {
                HookPresence::Gone => return Ok(true),
                HookPresence::Unreachable if hook.number.is_some() && began.elapsed() < MAX_END => {}
                HookPresence::There(_) | HookPresence::Unreachable => return Ok(false),
            }
            std::thread::sleep(LOOK);
        }
    }

    pub(crate) fn is_of_now(&self, hook: &HookRecord) -> bool {
        let chain = hook.chain.as_ref().map(|chain| &chain.boot);
        let number = hook.number.as_ref().map(|number| &number.boot);
        let recorded = chain.into_iter().chain(number).any(|boot| *boot == self.boot);
        recorded || self.state().links.of_hook(&hook.key).any(|link| link.boot == self.boot)
    }

    /// Finds the hook that a user names: by the path, or, if it leads nowhere, by the only recorded hook of that name.
    pub(crate) fn hook_by_name(&self, interface: &Interface, kind: HookKind) -> Result<HookKey, EngineError> {
        let key = self.named_hook(interface, kind)?;
        CallersNetwork::ensure(key.netns.id())?;
        Ok(key)
    }

    /// Finds the recorded hook that a user names, parks attachments that moved away, and locks the hook.
    pub(crate) fn lock_hook(
        &self,
        interface: &Interface,
        kind: HookKind,
    ) -> Result<(HookKey, Guard, Arc<HookRecord>), EngineError> {
        let key = self.hook_by_name(interface, kind)?;
        self.clear_of_moved(&key)?;
        let lock = self.lock(Subject::Hook(key));
        let hook = self.state().hooks.get(&key).cloned();
        let hook = hook.ok_or_else(|| EngineError::NoChain { hook: key.kind.at(interface) })?;
        Ok((key, lock, hook))
    }

    fn named_hook(&self, interface: &Interface, kind: HookKind) -> Result<HookKey, EngineError> {
        let error = match self.kernel.find_hook(interface, kind) {
            Err(error @ KernelError::NoNamespace { .. }) => error,
            found => return Ok(found?),
        };
        let state = self.state();
        let hooks = state.hooks.values().filter(|hook| hook.interface == *interface).map(|hook| hook.key);
        let is_named = |link: &LinkRecord| link.point.hook().is_some_and(|(name, _)| name == interface);
        let links = state.links.values().filter(|link| is_named(link)).filter_map(|link| link.hook);
        let is_meant = |key: &HookKey| key.kind == kind && key.netns.id().is_some();
        let keys: BTreeSet<HookKey> = hooks.chain(links).filter(is_meant).collect();
        match (keys.first(), keys.len()) {
            (Some(key), 1) => Ok(*key),
            _ => Err(error.into()),
        }
    }

    /// Adjusts a status if the path leads to another namespace, or if nothing else leads to its own. A missing path
    /// alone makes no difference: a container's process may end while its pod continues.
    pub(crate) fn by_path(
        &self,
        standing: Standing,
        path: Option<&Path>,
        home: Option<NetnsId>,
    ) -> Result<Standing, EngineError> {
        let Some(home) = home.filter(|home| standing.is_running() && !self.kernel.leads_to(path, *home))
        else {
            return Ok(standing);
        };
        let now = match self.kernel.find_namespace(home, path, None)? {
            FoundNamespace::At(now) if Some(&*now) == path => return Ok(standing),
            FoundNamespace::At(_) | FoundNamespace::Own if !self.is_of_a_namespace(path) => {
                return Ok(standing);
            }
            FoundNamespace::At(now) => Some(now),
            FoundNamespace::Own | FoundNamespace::Ended | FoundNamespace::NotFound => None,
        };
        Ok(Standing::OtherPath { was: path.map(Path::to_owned), now })
    }

    /// Returns whether only this link keeps its network namespace alive, which no other type of link does.
    pub(crate) fn keeps_namespace(&self, link: &LinkRecord) -> Result<bool, EngineError> {
        let (AttachPoint::Netfilter { netns, .. }, Some(home)) = (&link.point, link.namespace) else {
            return Ok(false);
        };
        let found = self.kernel.find_namespace(home, netns.as_deref(), None)?;
        Ok(matches!(found, FoundNamespace::Ended | FoundNamespace::NotFound))
    }

    fn is_of_a_namespace(&self, path: Option<&Path>) -> bool {
        matches!(self.loopback_in(path), Ok(_) | Err(KernelError::NoInterface { .. }))
    }

    /// Finds the loopback of a namespace, which identifies it; [`KernelError::NoInterface`] if it was renamed.
    pub(crate) fn loopback_in(&self, netns: Option<&Path>) -> Result<HookKey, KernelError> {
        let loopback = Interface { name: LOOPBACK.to_owned(), netns: netns.map(Path::to_owned) };
        self.kernel.find_hook(&loopback, HookKind::Xdp)
    }
}
