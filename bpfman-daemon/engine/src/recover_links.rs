//! Recovery of links that are no members of chains.

use std::sync::Arc;

use bpfmand_core::HookKind;
use bpfmand_kernel::Kernel;
use bpfmand_store::Batch;

use crate::engine::encode;
use crate::records::{self, LinkRecord};
use crate::recover::RecoveryReport;
use crate::recover_moves::{may_return, names_process};
use crate::undo::Undo;
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    pub(crate) fn recover_links(&self, report: &mut RecoveryReport) {
        let links: Vec<Arc<LinkRecord>> = self.state().links.values().cloned().collect();
        for link in links {
            if matches!(link.point.hook(), Some((_, HookKind::Xdp | HookKind::Tc(_)))) {
                continue;
            }
            if let Err(error) = self.pin_link_again(&link) {
                report.problems.push(format!("link {}: {error}", link.id));
                continue;
            }
            match self.kernel.open_pin(&paths::link(link.id)) {
                Ok(Some(handle)) => match self.mend_link(&link, &handle) {
                    Ok(mended) => report.reattached += usize::from(mended),
                    Err(error) => report.problems.push(format!("link {}: {error}", link.id)),
                },
                Ok(None) => match self.reattach(&link) {
                    Ok(()) => report.reattached += 1,
                    Err(error) => {
                        report.problems.push(format!("link {}: {error}", link.id));
                        // As it is on disk.
                        self.state().links.insert(link.id, Arc::clone(&link));
                        let result = self.forget_hook(&link);
                        report.note(format!("link {}", link.id), result);
                    }
                },
                Err(error) => report.problems.push(format!("link {}: {error}", link.id)),
            }
        }
    }

    /// A link of another boot that is attached nowhere no longer names its hook, whose numbers may be those of another
    /// one now.
    fn forget_hook(&self, link: &LinkRecord) -> Result<(), EngineError> {
        if link.boot == self.boot || link.hook.is_none() {
            return Ok(());
        }
        let nowhere = LinkRecord { hook: None, ..link.clone() };
        let mut batch = Batch::new();
        batch.put(records::LINKS, link.id.to_string().as_bytes(), encode(&nowhere)?);
        self.commit(batch)?;
        self.state().links.insert(link.id, Arc::new(nowhere));
        Ok(())
    }

    /// Attaches a recorded link again.
    pub(crate) fn reattach(&self, link: &LinkRecord) -> Result<(), EngineError> {
        if link.boot != self.boot && names_process(&link.point) {
            return Err(EngineError::EarlierProcess { link: link.id, point: link.point.to_string() });
        }
        let program = self.record(link.program).ok_or(EngineError::NoLink(link.id))?;
        self.refuse_lost([link])?;
        let handle = self.kernel.open_program(program.id)?.ok_or(EngineError::NoKernelProgram(program.id))?;
        let hook = match link.point.hook() {
            Some((interface, kind)) => Some(self.kernel.find_hook(interface, kind)?),
            None => None,
        };
        if hook.is_some_and(|key| !may_return(link, &self.boot, key.netns)) {
            return Err(EngineError::EarlierProcess { link: link.id, point: link.point.to_string() });
        }
        let restored = LinkRecord {
            hook,
            operation: self.operation(),
            boot: self.boot.clone(),
            adopted: false,
            waits_in: None,
            ..link.clone()
        };
        // The tcx anchors are chosen among links of the hook as it is now.
        self.state().links.insert(link.id, Arc::new(restored.clone()));
        let mut undo = Undo::default();
        let target = || self.link_target(&program, &restored);
        if let Err(error) = self.attach_retrying(&handle, target, restored.operation, &mut undo) {
            return Err(undo.run(error));
        }
        let mut batch = Batch::new();
        batch.put(records::LINKS, link.id.to_string().as_bytes(), encode(&restored)?);
        if let Err(error) = self.commit(batch) {
            return Err(undo.run(error));
        }
        undo.forget();
        self.place_link(&restored)
    }
}
