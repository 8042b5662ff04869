//! The one record of a load that was replaced, and what leaves with the old version.

use std::sync::Arc;

use bpfmand_core::OperationId;
use bpfmand_kernel::Kernel;

use crate::replace::switch::Switched;
use crate::state::records::{LeftoverRecord, LinkRecord, ProgramRecord};
use crate::state::{Changes, Committed};
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
        leftover.extend(self.leave_versions(&leaving, &staying));
        leftover
    }

    /// Records that the new version is the one that runs. On return it is on disk.
    pub(crate) fn commit_load(
        &self,
        operation: OperationId,
        new: &[Arc<ProgramRecord>],
        removed: &[Arc<ProgramRecord>],
        leaving: &[Arc<LinkRecord>],
        switched: &Switched,
    ) -> Result<Committed, EngineError> {
        let mut changes = Changes::default();
        leaving.iter().for_each(|link| changes.end_link(link.id));
        switched.hooks.iter().for_each(|hook| changes.put_hook(hook.clone()));
        switched.ended.iter().for_each(|key| changes.end_hook(*key));
        removed.iter().for_each(|program| changes.end_program(program.uid));
        for program in new {
            changes.put_program(Arc::clone(program));
            changes.set_previous(program.uid, None);
        }
        changes.leave(operation, switched.leftover.clone());
        self.commit(changes)
    }
}
