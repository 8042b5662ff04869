//! Kernel objects that finished operations no longer need: recorded, removed after the operation, and retried.

use std::path::Path;

use bpfmand_core::OperationId;
use bpfmand_kernel::{Kernel, KernelError, TcFilter};

use crate::engine::locks::Subject;
use crate::engine::undo::retry_once;
use crate::state::UnclearedLeftovers;
use crate::state::hook_names::filter_place;
use crate::state::records::{LeftoverFilter, LeftoverRecord};
use crate::{Engine, EngineError};

/// List of leftovers that is being split.
struct Parts {
    done: Vec<LeftoverRecord>,
    last: LeftoverRecord,
    size: usize,
    most: usize,
}

impl Parts {
    /// Returns the part that has capacity for so many more bytes.
    fn with_room(&mut self, bytes: usize) -> &mut LeftoverRecord {
        if self.size > 0 && self.size + bytes > self.most {
            self.done.push(std::mem::take(&mut self.last));
            self.size = 0;
        }
        self.size += bytes;
        &mut self.last
    }
}

impl LeftoverRecord {
    /// Adds the leftovers of another record.
    pub fn extend(&mut self, other: Self) {
        self.links.extend(other.links);
        self.released.extend(other.released);
        self.adopted_links.extend(other.adopted_links);
        self.pins.extend(other.pins);
        self.folders.extend(other.folders);
        self.filters.extend(other.filters);
    }

    /// Splits the record into parts of about `most` bytes each; returns at least one part.
    pub fn in_parts(&self, most: usize) -> Vec<Self> {
        type List = fn(&mut LeftoverRecord) -> &mut Vec<String>;
        let lists: [(&[String], List); 5] = [
            (&self.links, |part| &mut part.links),
            (&self.released, |part| &mut part.released),
            (&self.adopted_links, |part| &mut part.adopted_links),
            (&self.pins, |part| &mut part.pins),
            (&self.folders, |part| &mut part.folders),
        ];
        let mut parts = Parts { done: Vec::new(), last: Self::default(), size: 0, most };
        for (paths, list) in lists {
            for path in paths {
                list(parts.with_room(path.len() + 3)).push(path.clone());
            }
        }
        for filter in &self.filters {
            let netns = filter.interface.netns.as_deref().map_or(0, |path| path.as_os_str().len());
            let bytes = FILTER_BYTES + filter.interface.name.len() + netns;
            parts.with_room(bytes).filters.push(filter.clone());
        }
        parts.done.push(parts.last);
        parts.done
    }
}

/// Estimated size of a filter's record without the name of its interface.
const FILTER_BYTES: usize = 256;

impl<K: Kernel> Engine<K> {
    /// Splits the leftovers of an operation into records of limited size. The first is recorded under the operation
    /// itself, each other one under a new operation id.
    pub(crate) fn leftover_parts(
        &self,
        left: Option<(OperationId, LeftoverRecord)>,
    ) -> Vec<(OperationId, LeftoverRecord)> {
        let Some((operation, leftover)) = left else { return Vec::new() };
        let parts = leftover.in_parts(self.options.leftover_bytes).into_iter().enumerate();
        parts.map(|(at, part)| (if at == 0 { operation } else { self.operation() }, part)).collect()
    }

    /// Removes the leftovers of an operation, and then chains of hooks that ended. Later operations retry failures.
    pub(crate) fn clear_or_wait(
        &self,
        operation_name: &'static str,
        waiting: UnclearedLeftovers,
    ) -> Result<(), EngineError> {
        let result = self.clear_leftover(operation_name, &waiting.operations, &waiting.leftover);
        {
            let mut state = self.state();
            if result.is_err()
                && !waiting.operations.iter().all(|operation| state.cleaned.contains(operation))
            {
                state.uncleared.push(waiting);
                return result;
            }
        }
        for hook in waiting.ended {
            self.drop_chains_of(&hook);
        }
        result
    }

    /// Retries the removal of leftovers of earlier operations. The caller holds no lock.
    pub(crate) fn retry_leftovers(&self) {
        let all = std::mem::take(&mut self.state().uncleared);
        if all.is_empty() {
            return;
        }
        let _shared = self.lock(Subject::SharedMaps);
        for mut waiting in all {
            // Hold the hooks, so that no member joins them between the check for new members and the removal.
            let _hooks = self.lock_hooks(&waiting.hooks);
            waiting.leftover = self.unclaimed(waiting.leftover);
            let operation = waiting.operations.first().copied();
            if let Err(error) = self.clear_or_wait("clear", waiting) {
                tracing::warn!(%error, ?operation, "what an earlier operation left is still there");
            }
        }
    }

    /// Removes from the kernel what a finished operation no longer needs. The function is idempotent.
    pub(crate) fn clear_leftover(
        &self,
        operation_name: &'static str,
        operations: &[OperationId],
        leftover: &LeftoverRecord,
    ) -> Result<(), EngineError> {
        let mut failures = Vec::new();
        let mut is_left = false;
        for filter in &leftover.filters {
            self.step(operation_name, "remove filter");
            if let Err(error) = retry_once(|| self.end_filter(filter)) {
                is_left = true;
                failures.push(error);
            }
        }
        // An object that lives on without its pin is held by another process: nothing more can be done.
        let is_pinned = |pin: &Path| self.kernel.open_pin(pin).map_or(true, |pin| pin.is_some());
        type End<'e> = &'e dyn Fn(&Path) -> Result<(), EngineError>;
        let mut end_all = |step, paths: &[String], end: End<'_>, is_tree: bool| {
            for path in paths.iter().map(Path::new) {
                self.step(operation_name, step);
                if let Err(error) = retry_once(|| end(path)) {
                    is_left |= is_tree || is_pinned(path);
                    failures.push(error);
                }
            }
        };
        let end_link = |pin: &Path| Ok(self.held_network.during(|| self.kernel.end_link(pin))?);
        let unpin = |pin: &Path| Ok(self.kernel.unpin(pin)?);
        end_all("end link", &leftover.links, &end_link, false);
        end_all("give back", &leftover.released, &unpin, false);
        end_all("end link", &leftover.adopted_links, &|pin| self.end_adopted_link(pin), false);
        end_all("remove pin", &leftover.pins, &unpin, false);
        end_all("remove folder", &leftover.folders, &|folder| self.remove_tree(folder), true);
        // Every removal was tried; keep the record while an object remains that can still be removed.
        if !is_left {
            self.state().cleaned.extend(operations);
        }
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    /// Removes a filter, in whichever path its namespace is found. Returns [`KernelError::NamespaceNotFound`] if the
    /// filter may still run somewhere, or the kernel's error.
    pub(crate) fn end_filter(&self, filter: &LeftoverFilter) -> Result<(), EngineError> {
        let numbers = TcFilter { priority: filter.priority, handle: filter.handle };
        if let Some(at) = filter_place(&filter.key, &filter.interface, numbers) {
            match self.kernel.remove_filter(&at, filter.program) {
                Err(KernelError::NamespaceNotFound { .. })
                    if self.has_ended(at.netns, &filter.key, filter.number.as_ref())? => {}
                removed => removed?,
            }
        }
        self.state().ending_filters.retain(|other| !other.is_same(filter));
        if let Some(home) = filter.key.netns.id() {
            self.forget_namespace(home);
        }
        Ok(())
    }
}
