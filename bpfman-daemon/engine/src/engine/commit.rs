//! The one place where records are written, and applied to memory.

use bpfmand_kernel::Kernel;
use bpfmand_store::{CommitOutcome, StoreError};

use super::Engine;
use crate::EngineError;
use crate::engine::orphaned_maps::UsedMaps;
use crate::engine::recorded_counts::RecordedCounts;
use crate::state::{Change, Changes, Committed, RecordKey, Written, encode, records};

const RESERVE: u64 = 1024;

impl<K: Kernel> Engine<K> {
    /// Makes changes durable, then applies them to memory. An error leaves memory unchanged.
    pub(crate) fn commit(&self, mut changes: Changes) -> Result<Committed, EngineError> {
        self.admit_changes()?;
        self.note_kernel_links(&mut changes)?;
        let mut committed = Committed::default();
        let mut written = Written::default();
        let leftover = changes.leftover.take();
        let ending_filters = leftover.as_ref().map(|(_, left)| left.filters.clone()).unwrap_or_default();
        for (by, part) in self.leftover_parts(leftover) {
            written.put(RecordKey::Leftover(by), encode(&part)?);
            committed.operations.push(by);
        }
        // Encode without the state's lock: others read it meanwhile.
        for change in &changes.all {
            match change {
                Change::Put(record) => written.put(record.key(), record.encode()?),
                Change::End(key) => {
                    self.state().dependents(*key).into_iter().for_each(|key| written.end(key));
                    written.end(*key);
                }
            }
        }
        let (reserve, cleaned) = {
            let mut state = self.state();
            let reserve = (state.counter >= state.reserved).then(|| state.counter + RESERVE);
            // Reserve under this lock: another commit could otherwise reserve less, and be written later.
            state.reserved = reserve.unwrap_or(state.reserved);
            (reserve, std::mem::take(&mut state.cleaned))
        };
        if let Some(reserve) = reserve {
            written.batch.put(records::META, records::COUNTER, reserve.to_string().into_bytes());
        }
        for operation in &cleaned {
            written.end(RecordKey::Leftover(*operation));
        }
        let result = match self.work.commits.during(|| self.options.store.commit(written.batch)) {
            // The store was read back from disk and holds the change.
            Err(StoreError::NotSaved { outcome: CommitOutcome::Applied, source }) => {
                tracing::warn!(error = %source, "a change was saved after an error");
                Ok(())
            }
            result => result,
        };
        let mut former = Vec::new();
        let mut state = self.state();
        match &result {
            Ok(()) => {
                let used_maps = UsedMaps::of(&written.keys, &state);
                former.extend(written.keys.iter().filter_map(|key| match key {
                    RecordKey::Program(uid) => state.programs.get(uid).map(|program| program.id),
                    _ => None,
                }));
                changes.all.iter().for_each(|change| state.note_senders(change));
                RecordedCounts::applying(&mut state, |state| {
                    let ended = changes.all.into_iter().filter_map(|change| state.apply(change));
                    committed.ended.extend(ended);
                });
                self.left_maps.remember(used_maps, &state);
                state.ending_filters.extend(ending_filters);
                for key in &written.keys {
                    if let RecordKey::Hook(hook) = key
                        && !state.hooks.contains_key(hook)
                    {
                        self.swaps.forget(hook);
                    }
                }
            }
            Err(error) => {
                if reserve.is_some() {
                    state.reserved = 0;
                }
                if matches!(error, StoreError::NotSaved { outcome: CommitOutcome::Unknown, .. }) {
                    state.unsure = true;
                    state.in_doubt.extend(written.keys);
                }
                state.cleaned.extend(cleaned);
            }
        }
        drop(state);
        self.close_ended(&former);
        self.changes.tell();
        result?;
        Ok(committed)
    }
}
