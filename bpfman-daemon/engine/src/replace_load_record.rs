//! The one record of a load that was replaced, and what leaves with the old version.

use std::sync::Arc;

use bpfmand_core::OperationId;
use bpfmand_kernel::Kernel;
use bpfmand_store::Batch;

use crate::engine::encode;
use crate::records::{self, HookRecord, LeftoverRecord, LinkRecord, ProgramRecord};
use crate::replace_switch::Switched;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// What goes with the old version of a load, and with versions of its programs before that.
    pub(crate) fn leave_load(
        &self,
        old: &[Arc<ProgramRecord>],
        new: &[Arc<ProgramRecord>],
        mut leftover: LeftoverRecord,
    ) -> LeftoverRecord {
        let before: Vec<_> = {
            let state = self.state();
            let before = old.iter().filter_map(|program| state.previous.get(&program.uid));
            before.filter(|before| before.boot == self.boot).cloned().collect()
        };
        let leaving: Vec<&ProgramRecord> =
            old.iter().map(|old| &**old).chain(before.iter().map(|before| &before.program)).collect();
        let staying: Vec<&ProgramRecord> = new.iter().map(|new| &**new).collect();
        let versions = self.leave_versions(&leaving, &staying);
        leftover.pins.extend(versions.pins);
        leftover.folders.extend(versions.folders);
        leftover
    }

    /// Records that the new version is the one that runs. On return it is on disk. Answers the operations by which is
    /// listed what the old one left.
    pub(crate) fn commit_load(
        &self,
        operation: OperationId,
        new: &[Arc<ProgramRecord>],
        removed: &[Arc<ProgramRecord>],
        leaving: &[Arc<LinkRecord>],
        switched: &Switched,
    ) -> Result<Vec<OperationId>, EngineError> {
        let mut batch = Batch::new();
        for program in new {
            let uid = program.uid.to_string();
            batch.put(records::PROGRAMS, uid.as_bytes(), encode(&**program)?);
            batch.delete(records::PREVIOUS, uid.as_bytes());
        }
        for program in removed {
            let uid = program.uid.to_string();
            batch.delete(records::PROGRAMS, uid.as_bytes());
            batch.delete(records::PREVIOUS, uid.as_bytes());
            for matching in self.state().matchings_of(program.uid) {
                batch.delete(records::MATCHINGS, matching.to_string().as_bytes());
            }
        }
        for link in leaving {
            batch.delete(records::LINKS, link.id.to_string().as_bytes());
        }
        for hook in &switched.hooks {
            batch.put(records::HOOKS, &records::hook_key(&hook.key), encode(hook)?);
        }
        for key in &switched.ended {
            batch.delete(records::HOOKS, &records::hook_key(key));
        }
        let operations = self.list_leftover(&mut batch, operation, &switched.leftover)?;
        self.commit(batch)?;
        Ok(operations)
    }

    /// Takes over into memory what was recorded. Answers the hooks that ended.
    pub(crate) fn enter_load(
        &self,
        new: &[Arc<ProgramRecord>],
        removed: &[Arc<ProgramRecord>],
        leaving: &[Arc<LinkRecord>],
        switched: &Switched,
    ) -> Vec<Arc<HookRecord>> {
        let mut state = self.state();
        for link in leaving {
            state.links.remove(&link.id);
        }
        for hook in &switched.hooks {
            state.hooks.insert(hook.key, Arc::new(hook.clone()));
        }
        let ended = switched.ended.iter().filter_map(|key| state.hooks.remove(key)).collect();
        for program in removed {
            state.remove_program(program.uid);
        }
        for program in new {
            state.put_program((**program).clone());
            state.previous.remove(&program.uid);
        }
        ended
    }
}
