//! List of all hooks in use, in short form.

use std::collections::BTreeMap;
use std::sync::Arc;

use bpfman_model::{HookKey, HookKind, LinkId, ProgramId};
use bpfmand_kernel::{Kernel, SearchOnce};

use crate::describe::settled::ObservationBudget;
use crate::error::if_there;
use crate::state::records::{HookRecord, LinkRecord};
use crate::state::{Standing, XdpPlacement};
use crate::{Engine, EngineError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookSummary {
    /// Hook, as commands name it.
    pub hook: String,
    /// Strategy, as in [`crate::ChainDetails`].
    pub strategy: &'static str,
    pub members: usize,
    /// Program that the hook runs; `None` for tcx, and if nothing runs.
    pub program: Option<ProgramId>,
    /// Mechanism: "xdp", "tcx" or "clsact".
    pub mode: &'static str,
    /// XDP mode, for XDP hooks.
    pub xdp: Option<XdpPlacement>,
    /// Differences from the records: the status of the chain, or of single tcx links, which the kernel runs one by one.
    pub troubles: Vec<(Option<LinkId>, Standing)>,
    /// Number of other hooks that run the same loaded programs.
    pub shared_with: usize,
}

impl<K: Kernel> Engine<K> {
    /// Returns all hooks with a chain of the daemon or with its tcx links, by name.
    pub fn list_hooks(&self) -> Result<Vec<HookSummary>, EngineError> {
        let (hooks, links) = {
            let state = self.state();
            let hooks: Vec<Arc<HookRecord>> = state.hooks.values().cloned().collect();
            let links: Vec<Arc<LinkRecord>> = state.links.values().cloned().collect();
            (hooks, links)
        };
        let (budget, _search) = (self.observation_budget(), SearchOnce::begin());
        let mut summaries = Vec::with_capacity(hooks.len());
        for hook in &hooks {
            let members = links.iter().filter(|link| link.hook == Some(hook.key)).count();
            summaries.extend(self.summary_of(hook, members, &budget)?);
        }
        let mut tcx: BTreeMap<HookKey, Vec<&LinkRecord>> = BTreeMap::new();
        for link in &links {
            if let Some(key) = link.hook.filter(|key| matches!(key.kind, HookKind::Tcx(_))) {
                tcx.entry(key).or_default().push(link);
            }
        }
        for (key, links) in &tcx {
            summaries.extend(self.summary_of_tcx(key, links, &budget)?);
        }
        summaries.sort_by(|a, b| a.hook.cmp(&b.hook));
        Ok(summaries)
    }

    fn summary_of(
        &self,
        hook: &HookRecord,
        members: usize,
        budget: &ObservationBudget,
    ) -> Result<Option<HookSummary>, EngineError> {
        let Some(running) = self.settled_chain(budget, &hook.key)? else { return Ok(None) };
        let standing =
            self.by_path(running.standing, hook.interface.netns.as_deref(), hook.key.netns.id())?;
        let sharing = hook.chain.as_ref().map_or(1, |chain| self.state().hooks_of_chain(chain.id));
        Ok(Some(HookSummary {
            hook: hook.key.kind.at(&hook.interface),
            strategy: hook.strategy.name(),
            members,
            program: running.program,
            mode: hook.mode(),
            xdp: hook.xdp.clone(),
            troubles: [(None, standing)].into_iter().filter(|(_, s)| !s.is_running()).collect(),
            shared_with: sharing.saturating_sub(1),
        }))
    }

    fn summary_of_tcx(
        &self,
        key: &HookKey,
        links: &[&LinkRecord],
        budget: &ObservationBudget,
    ) -> Result<Option<HookSummary>, EngineError> {
        let Some((interface, _)) = links.first().and_then(|link| link.point.hook()) else { return Ok(None) };
        let mut troubles = Vec::new();
        for link in links {
            let standing = if_there(self.settled_link(budget, link.id))?.map(|details| details.standing);
            troubles.extend(standing.filter(|standing| !standing.is_running()).map(|is| (Some(link.id), is)));
        }
        Ok(Some(HookSummary {
            hook: key.kind.at(interface),
            strategy: "kernel",
            members: links.len(),
            program: None,
            mode: "tcx",
            xdp: None,
            troubles,
            shared_with: 0,
        }))
    }
}
