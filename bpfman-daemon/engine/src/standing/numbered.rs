//! Numbers of namespaces in which something runs without a kernel link: they reveal that a namespace has ended. They
//! are stored as names of empty folders in the bpffs: a start without records learns from them that a filter may run.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bpfman_model::{HookKey, HookKind, NetnsId, NetnsNumber};
use bpfmand_kernel::{FoundNamespace, Kernel, KernelError};

use crate::engine::locks::{Guard, Subject};
use crate::engine::undo::{Undo, retry_once, undoing};
use crate::state::namespace_number::{NamespaceNumber, folder_name, parse_folder_name};
use crate::state::records::{Entry, HookRecord};
use crate::state::{FoundFilters, State, StrayKind};
use crate::{Engine, EngineError, paths};

/// Longest wait of a scan for the end of an unreachable namespace.
pub const MAX_NAMESPACE_END: Duration = Duration::from_millis(500);
pub const NAMESPACE_END_PAUSE: Duration = Duration::from_millis(100);

impl State {
    /// Returns whether a namespace needs its number: every one, until a start has searched for stray filters.
    fn needs_number_of(&self, home: NetnsId) -> bool {
        if !self.strays_scanned {
            return true;
        }
        let hooks = self.hooks.values().filter(|hook| hook.entry != Entry::Link).map(|hook| &hook.key);
        let strays = self.strays.iter().filter_map(|stray| match &stray.kind {
            StrayKind::Filter { key, .. } => Some(key),
            _ => None,
        });
        let ending = self.ending_filters.iter().map(|filter| &filter.key);
        let mut all = hooks.chain(strays).chain(ending);
        all.any(|key| key.netns.id() == Some(home))
    }
}

impl<K: Kernel> Engine<K> {
    /// Locks a namespace from numbering to recording: another change could remove its number. `None` for the daemon's
    /// own namespace, and for TC hooks that are entered by tcx links.
    pub(crate) fn hold_namespace(&self, key: &HookKey) -> Option<Guard> {
        let home = key.netns.id()?;
        let is_entered_by_link = matches!(key.kind, HookKind::Tc(_)) && self.tc_enters_by_tcx();
        let has_number = !is_entered_by_link && !self.kernel.leads_to(None, home);
        has_number.then(|| self.lock(Subject::Namespace(home)))
    }

    /// Numbers a namespace. The caller holds its lock, and calls this before something runs there.
    pub(crate) fn number_namespace(
        &self,
        home: NetnsId,
        netns: Option<&Path>,
    ) -> Result<Option<NetnsNumber>, EngineError> {
        let number = self.kernel.number_namespace(home, netns)?;
        if let Some(number) = number {
            self.kernel.make_folder(&Path::new(paths::NAMESPACES).join(folder_name(home, number)))?;
        }
        Ok(number)
    }

    /// Adds the namespace number to a hook's record if it is needed. The caller holds the namespace's lock.
    pub(crate) fn numbered<'a>(
        &'a self,
        hook: HookRecord,
        undo: &mut Undo<'a>,
    ) -> Result<HookRecord, EngineError> {
        let Some(home) = hook.key.netns.id().filter(|_| self.lacks_number(&hook)) else { return Ok(hook) };
        // A filter needs its number until it is removed, which also removes the number.
        if hook.entry == Entry::Dispatcher {
            undo.push_sure(move || self.forget_held_namespace(home));
        }
        let number = self.number_namespace(home, hook.interface.netns.as_deref())?;
        let number = number.map(|number| NamespaceNumber {
            boot: self.boot.clone(),
            table: number.table,
            number: number.number,
        });
        Ok(HookRecord { number, ..hook })
    }

    pub(crate) fn lacks_number(&self, hook: &HookRecord) -> bool {
        let is_known = hook.number.as_ref().is_some_and(|number| number.boot == self.boot);
        !is_known && hook.entry != Entry::Link
    }

    /// Adds the number to the record of an earlier version. The caller holds the hook's lock.
    pub(crate) fn learn_number(&self, hook: &HookRecord) -> Result<(), EngineError> {
        if !self.lacks_number(hook) {
            return Ok(());
        }
        let _namespace = self.hold_namespace(&hook.key);
        undoing(|undo| {
            let numbered = self.numbered(hook.clone(), undo)?;
            if numbered.number == hook.number { Ok(()) } else { self.record_hook(numbered) }
        })
    }

    /// Removes the number of a namespace, unless something runs there without a link. The next start retries a failure.
    pub(crate) fn forget_namespace(&self, home: NetnsId) {
        let _namespace = self.lock(Subject::Namespace(home));
        self.forget_held_namespace(home);
    }

    pub(crate) fn forget_held_namespace(&self, home: NetnsId) {
        if self.state().needs_number_of(home) {
            return;
        }
        if let Err(error) = retry_once(|| self.remove_number(home)) {
            tracing::warn!(%error, "the number of a network namespace is not forgotten");
        }
    }

    fn remove_number(&self, home: NetnsId) -> Result<(), EngineError> {
        for (found, _, folder) in numbered_namespaces(&*self.kernel)? {
            if found == home {
                self.kernel.remove_folder(&folder)?;
            }
        }
        Ok(())
    }

    pub(crate) fn forget_unused_namespaces(&self) -> Result<(), EngineError> {
        let mut unused = Vec::new();
        for (home, number, _) in numbered_namespaces(&*self.kernel)? {
            if self.state().needs_number_of(home) {
                continue;
            }
            let found = self.kernel.find_namespace(home, None, Some(number))?;
            if matches!(found, FoundNamespace::Own | FoundNamespace::At(_)) {
                unused.push(home);
            }
        }
        // Usually there are none: avoid scanning all hooks of the machine at every start.
        let filters = if unused.is_empty() { FoundFilters::default() } else { self.all_filters()? };
        // A filter may remain that could not be removed, or that another daemon with the same folders owns.
        let may_run = |home| {
            !filters.read.contains(&home)
                || filters
                    .seen
                    .iter()
                    .any(|found| found.filter.may_be_ours() && found.key.netns.id() == Some(home))
        };
        unused.into_iter().filter(|home| !may_run(*home)).for_each(|home| self.forget_namespace(home));
        Ok(())
    }

    pub(super) fn is_numbered(&self, home: NetnsId) -> Result<bool, EngineError> {
        Ok(numbered_namespaces(&*self.kernel)?.iter().any(|(found, ..)| *found == home))
    }

    /// Removes numbers of ended namespaces. Returns one without a path that lives on: something may run there.
    pub(crate) fn sweep_namespaces(&self) -> Result<Option<NetnsId>, EngineError> {
        let mut hidden = None;
        for (home, number, folder) in numbered_namespaces(&*self.kernel)? {
            match self.kernel.find_namespace(home, None, Some(number))? {
                FoundNamespace::Ended => self.remove_ended_number(home, number, &folder)?,
                FoundNamespace::NotFound => hidden = Some(home),
                FoundNamespace::Own | FoundNamespace::At(_) => {}
            }
        }
        Ok(hidden)
    }

    /// Removes the number of an ended namespace, unless the namespace is locked: a new one may have its identity and number.
    fn remove_ended_number(
        &self,
        home: NetnsId,
        number: NetnsNumber,
        folder: &Path,
    ) -> Result<(), EngineError> {
        let Some(_namespace) = self.try_lock(Subject::Namespace(home)) else { return Ok(()) };
        if self.kernel.find_namespace(home, None, Some(number))? == FoundNamespace::Ended {
            self.kernel.remove_folder(folder)?;
        }
        Ok(())
    }

    pub(super) fn hidden_namespace(&self) -> Result<Option<NetnsId>, EngineError> {
        let began = Instant::now();
        loop {
            match self.sweep_namespaces()? {
                Some(_) if began.elapsed() < MAX_NAMESPACE_END => std::thread::sleep(NAMESPACE_END_PAUSE),
                hidden => return Ok(hidden),
            }
        }
    }
}

pub fn numbered_namespaces<K: Kernel>(
    kernel: &K,
) -> Result<Vec<(NetnsId, NetnsNumber, PathBuf)>, KernelError> {
    let all = Path::new(paths::NAMESPACES);
    let parse = |name: String| {
        let (home, number) = parse_folder_name(&name)?;
        Some((home, number, all.join(name)))
    };
    Ok(kernel.list_folder(all)?.into_iter().filter_map(parse).collect())
}
