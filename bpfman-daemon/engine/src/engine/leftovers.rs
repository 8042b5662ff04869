//! Kernel objects that finished operations no longer need: recorded, removed after the operation, and retried.

use std::path::Path;

use bpfman_model::OperationId;
use bpfmand_kernel::{Kernel, KernelError, TcFilter};

use crate::engine::locks::Subject;
use crate::engine::undo::retry_once;
use crate::state::UnclearedLeftovers;
use crate::state::hook_names::filter_place;
use crate::state::records::{LeftoverFilter, LeftoverRecord};
use crate::{Engine, EngineError};

struct Parts {
    done: Vec<LeftoverRecord>,
    last: LeftoverRecord,
    size: usize,
    most: usize,
}

impl Parts {
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
    pub fn extend(&mut self, other: Self) {
        self.links.extend(other.links);
        self.released.extend(other.released);
        self.adopted_links.extend(other.adopted_links);
        self.pins.extend(other.pins);
        self.folders.extend(other.folders);
        self.filters.extend(other.filters);
    }

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

const FILTER_BYTES: usize = 256;

impl<K: Kernel> Engine<K> {
    /// Splits an operation's leftovers into records of limited size: the first under its own id, others under new ids.
    pub(crate) fn leftover_parts(
        &self,
        left: Option<(OperationId, LeftoverRecord)>,
    ) -> Vec<(OperationId, LeftoverRecord)> {
        let Some((operation, leftover)) = left else { return Vec::new() };
        let parts = leftover.in_parts(self.options.leftover_bytes).into_iter().enumerate();
        parts.map(|(at, part)| (if at == 0 { operation } else { self.operation() }, part)).collect()
    }

    /// Removes the leftovers of an operation, then chains of ended hooks. Later operations retry failures.
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

    /// Removes leftovers from the kernel; idempotent.
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
        // An object that outlives its pin is held by another process: nothing more can be done.
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
        if !is_left {
            self.state().cleaned.extend(operations);
        }
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    /// Removes a filter, by any path of its namespace. Returns [`KernelError::NamespaceNotFound`] if it may still run.
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
