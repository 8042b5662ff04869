//! Attachments that need one kernel link per CPU: a folder of pins takes the place of the single pin.

use std::path::{Path, PathBuf};

use bpfman_model::{PerfEventPlace, TargetIdentity};
use bpfmand_kernel::{Kernel, LinkTarget, NewLink};

use crate::engine::undo::Undo;
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    /// Attaches by one pinned link, or by one per CPU in a folder. After a failure, `undo` ends the links, and the
    /// creator of the parent folder removes the rest. Returns the identities of the target.
    pub(crate) fn attach_pinned<'a>(
        &'a self,
        operation: &'static str,
        program: &K::Handle,
        target: &LinkTarget<'_>,
        pin: &Path,
        undo: &mut Undo<'a>,
    ) -> Result<Vec<TargetIdentity>, EngineError> {
        let mut found = Vec::new();
        let mut is_known = false;
        for (at, target) in self.links_of_target(target, pin)? {
            self.step(operation, "create link");
            let attached = self.held_network.during(|| self.kernel.attach_identified(program, &target));
            let NewLink { link, targets } = attached?;
            found = targets;
            self.step(operation, "pin link");
            self.kernel.pin(&link, &at)?;
            if !is_known {
                let pin = pin.to_owned();
                undo.push(move || self.undo_link(pin));
                is_known = true;
            }
        }
        Ok(found)
    }

    fn links_of_target<'t>(
        &self,
        target: &LinkTarget<'t>,
        pin: &Path,
    ) -> Result<Vec<(PathBuf, LinkTarget<'t>)>, EngineError> {
        let place = match target {
            LinkTarget::PerfEvent { place } if place.is_per_cpu() => place,
            _ => return Ok(vec![(pin.to_owned(), target.clone())]),
        };
        let online = self.kernel.online_cpus()?;
        self.kernel.make_folder(pin)?;
        let on = |cpu| {
            let place = PerfEventPlace { cpu: Some(cpu), ..*place };
            (pin.join(paths::cpu_link(cpu)), LinkTarget::PerfEvent { place })
        };
        Ok(online.into_iter().map(on).collect())
    }
}
