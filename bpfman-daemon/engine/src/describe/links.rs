//! Descriptions of links: the records, and the programs that the kernel runs at their attach points.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use bpfman_model::{HookKey, KernelLinkId, LinkId, ProgramId, ProgramType};
use bpfmand_kernel::{Kernel, SearchOnce};

use crate::describe::details::LinkDetails;
use crate::describe::settled::ObservationBudget;
use crate::error::if_there;
use crate::standing::Observed;
use crate::state::records::{HookRecord, LinkRecord};
use crate::state::{GonePlace, Standing, has_pair};
use crate::{Engine, EngineError, paths};

#[derive(Clone)]
pub struct Running {
    pub kernel_link: Option<KernelLinkId>,
    pub program: Option<ProgramId>,
    pub pin: Option<PathBuf>,
    pub standing: Standing,
}

impl Running {
    /// The last check takes precedence where it has more information.
    fn new<H>(found: Observed<H>, pin: PathBuf, checked: Option<&Standing>) -> Self {
        let pin = found.is_pinned().then_some(pin);
        let standing = match (found.standing, checked) {
            (Standing::Running, Some(old @ Standing::OldFile { .. })) => old.clone(),
            (
                seen @ (Standing::Running
                | Standing::Waiting
                | Standing::Elsewhere
                | Standing::Ended { .. }
                | Standing::ModuleGone { .. }
                | Standing::Withheld { .. }
                | Standing::NotLoaded { .. }),
                _,
            )
            // Since the check, the place may have become reachable, or the missing object may have been created.
            | (
                seen,
                None
                | Some(
                    Standing::Unreachable
                    | Standing::ModuleGone { .. }
                    | Standing::NotLoaded { .. }
                    | Standing::OldFile { .. },
                ),
            ) => seen,
            (_, Some(checked)) => checked.clone(),
        };
        Self { kernel_link: found.link.map(|(_, facts)| facts.id), program: found.program, pin, standing }
    }
}

impl<K: Kernel> Engine<K> {
    /// Returns all links, by id, of the programs that the arguments select.
    pub fn list_links(
        &self,
        program: Option<ProgramId>,
        program_type: Option<ProgramType>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Vec<LinkDetails>, EngineError> {
        let links: Vec<Arc<LinkRecord>> = {
            let state = self.state();
            let fits = |link: &&Arc<LinkRecord>| {
                state.programs.get(&link.program).is_some_and(|owner| {
                    program.is_none_or(|wanted| wanted == owner.id)
                        && program_type.is_none_or(|wanted| wanted == owner.program_type)
                        && metadata.iter().all(|(key, value)| has_pair(&owner.metadata, key, value))
                })
            };
            state.links.values().filter(fits).cloned().collect()
        };
        let (budget, _search) = (self.observation_budget(), SearchOnce::begin());
        let mut shown = Vec::with_capacity(links.len());
        let mut chains = HashMap::new();
        for link in &links {
            let Some(seen) = if_there(self.link_details(link, &mut chains))? else { continue };
            if !seen.standing.may_be_half_done() {
                shown.push(seen);
                continue;
            }
            let settled = if_there(self.settled_link(&budget, link.id))?;
            if let (Some(key), Some(found)) = (link.hook, &settled)
                && !found.standing.may_be_half_done()
            {
                chains.remove(&key);
            }
            shown.extend(settled);
        }
        Ok(shown)
    }

    pub fn describe_link(&self, id: LinkId) -> Result<LinkDetails, EngineError> {
        let _search = SearchOnce::begin();
        self.settled_link(&self.observation_budget(), id)
    }

    pub(crate) fn settled_link(
        &self,
        budget: &ObservationBudget,
        id: LinkId,
    ) -> Result<LinkDetails, EngineError> {
        self.settled(budget, || self.held_link(id), |link| Some(&mut link.standing), || self.subjects_of(id))
    }

    pub(crate) fn held_link(&self, id: LinkId) -> Result<LinkDetails, EngineError> {
        let link = self.state().links.get(&id).cloned().ok_or(EngineError::NoLink(id))?;
        self.link_details(&link, &mut HashMap::new())
    }

    fn link_details(
        &self,
        link: &Arc<LinkRecord>,
        chains: &mut HashMap<HookKey, Running>,
    ) -> Result<LinkDetails, EngineError> {
        let program = self.record(link.program).ok_or(EngineError::NoLink(link.id))?;
        let position = link.hook.and_then(|key| {
            self.running_order(&key).iter().position(|other| other.id == link.id).map(|at| at as u32)
        });
        let hook = link.hook.and_then(|key| self.state().hooks.get(&key).cloned());
        let running = match &hook {
            Some(hook) => match chains.get(&hook.key) {
                Some(running) => running.clone(),
                None => {
                    let running = self.running_chain(hook)?;
                    chains.insert(hook.key, running.clone());
                    running
                }
            },
            None => self.running_link(link)?,
        };
        let standing = match link.hook.zip(link.point.hook()) {
            Some((key, (interface, _))) => {
                self.by_path(running.standing, interface.netns.as_deref(), key.netns.id())?
            }
            None => match link.point.netns() {
                Some(netns) => match self.by_path(running.standing, netns.as_deref(), link.namespace)? {
                    Standing::OtherPath { now: None, .. } if self.keeps_namespace(link)? => {
                        Standing::PlaceGone { place: GonePlace::KeptNamespace, why: None }
                    }
                    standing => standing,
                },
                None => running.standing,
            },
        };
        let (standing, warnings) = {
            let state = self.state();
            let is_withheld = standing.is_running() && state.is_withheld(link);
            let why = || state.why_withheld(link);
            let standing = if is_withheld { Standing::Withheld { why: why() } } else { standing };
            (standing, state.concerns_of(link))
        };
        let warnings = warnings.into_iter().chain(self.broken_order(&program, link)).collect();
        Ok(LinkDetails {
            record: Arc::clone(link),
            waits_for: match link.hook {
                Some(key) => self.waits_for(&key, link.id),
                None => self.waits_in_group(&program, link),
            },
            program,
            position,
            kernel_link: running.kernel_link,
            running: running.program,
            pin: running.pin,
            xdp: hook.and_then(|hook| hook.xdp.clone()),
            hook: link.hook.zip(link.point.hook()).map(|(key, (interface, _))| key.kind.at(interface)),
            standing,
            left: self.left(link.ends.as_ref()),
            warnings,
        })
    }

    fn running_link(&self, link: &LinkRecord) -> Result<Running, EngineError> {
        let found = self.observe_alone(link)?;
        Ok(Running::new(found, paths::link(link.id), self.state().drifted_links.get(&link.id)))
    }

    pub(crate) fn running_chain(&self, hook: &HookRecord) -> Result<Running, EngineError> {
        let found = self.observe(hook)?;
        Ok(Running::new(found, paths::hook_link(&hook.key), self.state().drifted.get(&hook.key)))
    }
}
