//! Retries programs that could not be loaded at the start: a kernel module may be loaded later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfman_model::{OperationId, ProgramUid};
use bpfmand_kernel::Kernel;

use crate::engine::locks::{Guard, Subject};
use crate::recover::passes::Pass;
use crate::recover::programs::order_of_reloads;
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

/// Longest time of one check's retries, since other checks wait meanwhile.
const MAX_TIME: Duration = Duration::from_secs(5);

impl<K: Kernel> Engine<K> {
    /// Reloads lost programs if the kernel modules changed or a retry is due. Checks restore the links.
    pub(crate) fn retry_lost(&self) -> Vec<ProgramUid> {
        if self.state().lost.is_empty() || !self.options.objects.is_able() {
            return Vec::new();
        }
        let Ok(now) = self.kernel.now() else { return Vec::new() };
        let (now, modules) = (now.since_boot, self.kernel.loaded_modules());
        let mut loads: BTreeMap<OperationId, Vec<Arc<ProgramRecord>>> = BTreeMap::new();
        {
            let mut state = self.state();
            let due = state.lost.due(now, &modules);
            for program in due.iter().filter_map(|uid| state.programs.get(uid)) {
                loads.entry(program.operation).or_default().push(Arc::clone(program));
            }
        }
        let began = Instant::now();
        let mut loaded = Vec::new();
        for programs in order_of_reloads(loads) {
            if began.elapsed() > MAX_TIME {
                break;
            }
            let uids = || programs.iter().map(|program| program.uid);
            let names = programs.iter().map(|program| program.name.as_str()).collect::<Vec<_>>().join(", ");
            match self.retry_load(&programs) {
                Ok(true) => {
                    tracing::info!(programs = %names, "loaded again, which failed at the start");
                    loaded.extend(uids());
                    self.announce_change();
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(%error, programs = %names, "loading them again failed once more");
                    self.state().lost.failed_again(uids(), &error.to_string(), now, &modules);
                }
            }
        }
        loaded
    }

    fn retry_load(&self, programs: &[Arc<ProgramRecord>]) -> Result<bool, EngineError> {
        // Read before any lock: a reader may be slow.
        let object = self.read_lost(programs, Pass::First)?;
        self.admit_changes()?;
        // Also keeps the extended programs and map owners from being unloaded meanwhile.
        let _shared = self.lock(Subject::SharedMaps);
        let uids: BTreeSet<ProgramUid> = programs.iter().map(|program| program.uid).collect();
        let _held: Vec<Guard> = uids.into_iter().map(|uid| self.lock(Subject::Program(uid))).collect();
        let mut renewed = {
            let state = self.state();
            let is_as_before = |program: &Arc<ProgramRecord>| {
                let now = state.programs.get(&program.uid);
                state.lost.contains(&program.uid) && now.is_some_and(|now| Arc::ptr_eq(now, program))
            };
            if !programs.iter().all(is_as_before) {
                return Ok(false);
            }
            state.lost.renewed.clone()
        };
        renewed.retain(|_, map| matches!(self.kernel.map(*map), Ok(Some(_))));
        let placed = self.reload(programs, &object, &mut renewed)?;
        {
            let mut state = self.state();
            state.lost.renewed = renewed;
            state.index_ids();
        }
        if let Err(error) = placed {
            // The programs run and are recorded: the next start moves their pins.
            tracing::warn!(%error, "programs that were loaded again cannot be moved into place");
        }
        Ok(true)
    }
}
