//! Finds strays, and keeps the objects that they need.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bpfman_model::uapi::prog_type::SCHED_CLS as TC;
use bpfman_model::{HookKey, Interface, KernelLinkId, ProgramFacts, ProgramId};
use bpfmand_kernel::{Kernel, KernelError, TcFilter};

use crate::engine::RecoveryReport;
use crate::state::FoundFilters;
use crate::state::chain_record::ChainId;
use crate::state::records::HookRecord;
use crate::state::{Stray, StrayKind};
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    /// Returns the strays that the last start found and that still exist.
    pub fn strays(&self) -> Result<Vec<Stray>, EngineError> {
        let known = self.state().strays.clone();
        let mut left = Vec::new();
        for stray in known {
            let is_claimed = self.is_named(&stray.pin)
                && !matches!(stray.kind, StrayKind::NewerChain { key, .. } if self.runs(&key, stray.program)?);
            if !is_claimed && self.open_pinned(&stray.pin)?.is_some() {
                left.push(stray);
            }
        }
        self.state().strays.clone_from(&left);
        Ok(left)
    }

    /// Checks that users can reach the pins by the documented paths ([`bpfmand_kernel::KernelError::NotMounted`]).
    pub fn check_pins(&self) -> Result<(), EngineError> {
        Ok(self.kernel.check_pins()?)
    }

    /// Finds strays, and ends links that no longer run a program. Call it after a start has reconciled all records.
    pub(crate) fn find_strays(&self, report: &mut RecoveryReport) {
        let result = self.collect_strays(report).map(|strays| {
            for stray in &strays {
                report.problems.push(format!("stray {}: {}", stray.pin.display(), stray.description()));
            }
            let mut state = self.state();
            (state.strays, state.strays_scanned) = (strays, true);
        });
        report.note("looking for what no record names", result);
    }

    fn collect_strays(&self, report: &mut RecoveryReport) -> Result<Vec<Stray>, EngineError> {
        let mut strays = Vec::new();
        let pins = self.stray_links()?;
        // Usually there are none: avoid opening every hook's link at every start.
        let recorded = if pins.is_empty() { HashSet::new() } else { self.recorded_links()? };
        for pin in pins {
            let Ok(Some(facts)) = self.pinned_link(&pin) else { continue };
            if recorded.contains(&facts.id) {
                // A record names the link by another pin: its hook was being moved.
                self.kernel.unpin(&pin)?;
                report.settled += 1;
                continue;
            }
            if !facts.is_live() {
                self.kernel.end_link(&pin)?;
                report.settled += 1;
                continue;
            }
            let kind = StrayKind::Link { id: facts.id, ifindex: facts.ifindex };
            strays.push(self.stray(pin, kind, facts.program)?);
        }
        let hooks: Vec<_> = self.state().hooks.values().cloned().collect();
        for hook in hooks {
            if let Some(program) = self.newer_chain(&hook)? {
                let kind = StrayKind::NewerChain { hook: hook.key.kind.at(&hook.interface), key: hook.key };
                strays.push(self.stray(paths::hook_link(&hook.key), kind, program)?);
            }
        }
        strays.extend(self.stray_filters()?);
        for name in self.kernel.list_folder(Path::new(""))? {
            let pin = PathBuf::from(&name);
            let is_ours = name.strip_prefix("prog_").is_some_and(|id| id.parse::<u32>().is_ok());
            if !is_ours || self.is_named(&pin) {
                continue;
            }
            let Some(facts) = self.pinned_program(&pin)? else { continue };
            strays.push(Stray { pin, kind: StrayKind::Program, program: facts.id, program_name: facts.name });
        }
        Ok(strays)
    }

    fn stray(&self, pin: PathBuf, kind: StrayKind, program: ProgramId) -> Result<Stray, EngineError> {
        let name = self.kernel.program(program)?.map(|facts| facts.name).unwrap_or_default();
        Ok(Stray { pin, kind, program, program_name: name })
    }

    /// Returns whether a record, or an operation that is not cleaned up yet, has the pin.
    fn is_named(&self, pin: &Path) -> bool {
        let path = pin.display().to_string();
        let state = self.state();
        state.is_claimed(&path, &[])
            || state.uncleared.iter().any(|waiting| {
                let left = &waiting.leftover;
                [&left.links, &left.adopted_links, &left.released, &left.pins]
                    .into_iter()
                    .any(|pins| pins.contains(&path))
            })
    }

    /// Refuses an attachment where the pin of a link without a record occupies the place of the new pin.
    pub(crate) fn ensure_no_stray(&self, key: &HookKey, interface: &Interface) -> Result<(), EngineError> {
        match self.pinned_link(&paths::hook_link(key))? {
            Some(facts) if facts.is_live() => {
                Err(EngineError::StrayAtHook { hook: key.kind.at(interface), link: facts.id })
            }
            _ => Ok(()),
        }
    }

    fn recorded_links(&self) -> Result<HashSet<KernelLinkId>, EngineError> {
        let hooks: Vec<HookKey> = self.state().hooks.keys().copied().collect();
        let mut links = HashSet::new();
        for key in hooks {
            links.extend(self.live_link(&paths::hook_link(&key))?.map(|(_, facts)| facts.id));
        }
        Ok(links)
    }

    pub(crate) fn stray_links(&self) -> Result<Vec<PathBuf>, EngineError> {
        let mut found = Vec::new();
        for folder in ["xdp", "tc-ingress", "tc-egress", paths::LINKS] {
            for name in self.kernel.list_folder(Path::new(folder))? {
                let pin = Path::new(folder).join(&name);
                // Other tools create folders and links of their own in a bpffs: iproute2 does.
                let is_ours = match folder {
                    paths::LINKS => name.parse::<u32>().is_ok(),
                    _ => name.starts_with("dispatcher_") && name.ends_with("_link"),
                };
                if is_ours && !self.is_named(&pin) {
                    found.push(pin);
                }
            }
        }
        Ok(found)
    }

    fn stray_filters(&self) -> Result<Vec<Stray>, EngineError> {
        let mut strays = Vec::new();
        let folders = self.unrecorded_chains()?;
        let filters = if folders.is_empty() { FoundFilters::default() } else { self.all_filters()? };
        for folder in folders {
            let pin = folder.join(paths::segment(0));
            let Some(ProgramFacts { id, kernel_type, .. }) = self.pinned_program(&pin)? else { continue };
            let mut kinds = Vec::new();
            for found in filters.seen.iter().filter(|found| found.program == id) {
                let (interface, TcFilter { priority, handle }) = (found.interface.clone(), found.filter);
                kinds.push(StrayKind::Filter { interface, key: found.key, priority, handle });
            }
            // A chain that runs in a reachable namespace is reported there. Links show what runs at XDP.
            if let (Some(netns), true, TC) = (filters.hidden, kinds.is_empty(), kernel_type) {
                kinds.push(StrayKind::HiddenFilter { netns });
            }
            for kind in kinds {
                strays.push(self.stray(pin.clone(), kind, id)?);
            }
        }
        Ok(strays)
    }

    pub(crate) fn unrecorded_chains(&self) -> Result<Vec<PathBuf>, EngineError> {
        let names = self.kernel.list_folder(Path::new(paths::CHAINS))?;
        let state = self.state();
        let is_recorded = |name: &String| {
            let chain = name.parse().ok().and_then(|id| state.chain_of_id(ChainId(id)));
            chain.is_some_and(|chain| chain.boot == self.boot)
        };
        Ok(names.iter().filter(|name| !is_recorded(name)).map(|n| Path::new(paths::CHAINS).join(n)).collect())
    }

    /// Returns whether a record names, or a stray runs, the program. `filters`: the kernel cannot list them by program.
    pub(crate) fn is_run_by_stray(
        &self,
        program: ProgramId,
        filters: &FoundFilters,
    ) -> Result<bool, EngineError> {
        if self.state().by_id.contains_key(&program) {
            return Ok(true);
        }
        for pin in self.stray_links()? {
            if let Ok(Some(facts)) = self.pinned_link(&pin)
                && facts.program == program
                && facts.is_live()
            {
                return Ok(true);
            }
        }
        if filters.seen.iter().any(|found| found.program == program) {
            return Ok(true);
        }
        // Filters run classifiers alone.
        let is_classifier = |facts: ProgramFacts| facts.kernel_type == TC;
        Ok(filters.hidden.is_some() && self.kernel.program(program)?.is_some_and(is_classifier))
    }

    /// Returns the program of a recorded hook, if newer than the record: chains move into place after their record.
    pub(crate) fn newer_chain(&self, hook: &HookRecord) -> Result<Option<ProgramId>, EngineError> {
        let running = match self.program_at(hook) {
            Err(EngineError::Kernel(KernelError::NamespaceNotFound { .. })) => None,
            running => running?,
        };
        let Some(running) = running else { return Ok(None) };
        if running == hook.program {
            return Ok(None);
        }
        for folder in self.unrecorded_chains()? {
            if self.is_pin_of(&folder.join(paths::segment(0)), running)? {
                return Ok(Some(running));
            }
        }
        let is_loaded = self.is_pin_of(&paths::program(running), running)?;
        Ok((is_loaded && !self.is_named(&paths::program(running))).then_some(running))
    }

    fn runs(&self, key: &HookKey, program: ProgramId) -> Result<bool, EngineError> {
        let hook = self.state().hooks.get(key).cloned();
        Ok(match hook {
            Some(hook) => match self.program_at(&hook) {
                Err(EngineError::Kernel(KernelError::NamespaceNotFound { .. })) => false,
                running => running? == Some(program),
            },
            None => false,
        })
    }
}
