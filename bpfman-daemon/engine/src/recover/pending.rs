//! Recovery of interrupted operations: finishes operations with a record, undoes those without.

use std::path::Path;
use std::sync::Arc;

use bpfman_model::{OperationId, ProgramFacts};
use bpfmand_kernel::{FilterPlace, FoundNamespace, Kernel, KernelError, TcFilter};

use crate::engine::RecoveryReport;
use crate::state::filter_pin::{PinnedFilter, parse_filter_pin};
use crate::state::records::{LeftoverRecord, LinkRecord, ProgramRecord};
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    /// Drops entries whose place has been reused, by a hook or by a kernel id after a reboot.
    pub(crate) fn unclaimed(&self, mut leftover: LeftoverRecord) -> LeftoverRecord {
        let state = self.state();
        for list in [
            &mut leftover.links,
            &mut leftover.adopted_links,
            &mut leftover.released,
            &mut leftover.pins,
            &mut leftover.folders,
        ] {
            list.retain(|path| !state.is_claimed(path, &[]));
        }
        drop(state);
        leftover
    }

    pub(crate) fn settle_pending(
        &self,
        report: &mut RecoveryReport,
    ) -> Result<Vec<OperationId>, EngineError> {
        let mut kept = Vec::new();
        for name in self.kernel.list_folder(Path::new(paths::PENDING))? {
            report.settled += 1;
            let result = match name.parse() {
                Ok(number) => match self.settle_pending_chain(OperationId(number)) {
                    Ok(false) => match self.settle_dispatcher(OperationId(number)) {
                        Ok(false) => self.settle(OperationId(number), &mut kept),
                        settled => settled.map(drop),
                    },
                    settled => settled.map(drop),
                },
                Err(_) => self.remove_tree(&Path::new(paths::PENDING).join(&name)),
            };
            report.note(format!("settling operation {name}"), result);
        }
        Ok(kept)
    }

    pub(crate) fn sweep_pending_versions(&self, kept: &[OperationId], report: &mut RecoveryReport) {
        for operation in kept {
            let result = self.remove_tree(&paths::pending(*operation));
            report.note(format!("settling operation {operation}"), result);
        }
    }

    fn settle(&self, operation: OperationId, kept: &mut Vec<OperationId>) -> Result<(), EngineError> {
        let (programs, links, hook) = {
            let state = self.state();
            let programs: Vec<Arc<ProgramRecord>> =
                state.programs.values().filter(|program| program.operation == operation).cloned().collect();
            let links: Vec<Arc<LinkRecord>> =
                state.links.values().filter(|link| link.operation == operation).cloned().collect();
            let hook = state.hooks.values().find(|hook| hook.operation == operation).cloned();
            (programs, links, hook)
        };
        if self.is_adoption(operation)? {
            let program = links.first().and_then(|link| self.record(link.program));
            match (links.first(), program) {
                (Some(link), Some(program)) => self.place_adopted(operation, link, program.id)?,
                _ => self.undo_adoption(operation)?,
            }
        } else if let Some(hook) = hook {
            self.place_hook(&hook)?;
        } else if let [link] = &*links {
            self.place_link(link)?;
        } else if !programs.is_empty() {
            self.place_replaced_links(operation)?;
            self.place_programs(operation, &programs)?;
        } else {
            self.undo_pending(operation, kept)?;
        }
        Ok(())
    }

    /// Undoes an operation; versions are `kept` until hooks are swapped back: pins identify them as ours.
    fn undo_pending(&self, operation: OperationId, kept: &mut Vec<OperationId>) -> Result<(), EngineError> {
        let folder = paths::pending(operation);
        let names = self.kernel.list_folder(&folder)?;
        // A packet may be inside the bridge, which needs its array.
        let is_bridged = names.iter().any(|name| name == paths::BRIDGE);
        let has_versions = names.iter().any(|name| name.starts_with("prog_"));
        for name in names {
            let pin = folder.join(&name);
            if name == paths::PENDING_LINK || paths::replaced_link_id(&name).is_some() {
                self.kernel.end_link(&pin)?;
                if is_bridged {
                    self.kernel.wait_for_readers()?;
                }
            } else if let Some(pinned) = parse_filter_pin(&name)
                && let Some(ProgramFacts { id, .. }) = self.pinned_program(&pin)?
            {
                let PinnedFilter { direction, ifindex, home, netns, number } = pinned;
                let filter = TcFilter::of(operation.0);
                let at = FilterPlace { home, netns: netns.as_deref(), ifindex, direction, filter };
                match self.kernel.remove_filter(&at, id) {
                    Err(KernelError::NamespaceNotFound { .. })
                        if self.kernel.find_namespace(home, at.netns, number)? == FoundNamespace::Ended => {}
                    // The filter may still run: keep the pins and retry at the next start.
                    removed => removed?,
                }
            }
        }
        if has_versions {
            kept.push(operation);
            return Ok(());
        }
        self.remove_tree(&folder)
    }
}
