//! Attachments to all matching interfaces, now and later. Their selectors are compared with the existing interfaces
//! whenever these changed ([`Engine::follow_interfaces`]), so a start after a crash needs only that comparison.

use std::sync::Arc;

use bpfman_model::{AttachPoint, HookKey, Interface, LinkId, MatchRequest, MatchingId, Owner};
use bpfmand_kernel::{Kernel, KernelError, SearchOnce};

use crate::attach::existing_link;
use crate::describe::details::{LinkDetails, MatchingDetails};
use crate::describe::settled::ObservationBudget;
use crate::engine::RecoveryReport;
use crate::engine::locks::Subject;
use crate::error::if_there;
use crate::state::hook_names::place;
use crate::state::records::{LinkRecord, MatchingRecord, ProgramRecord};
use crate::state::{Changes, MapGroup, Standing, with_application};
use crate::{Engine, EngineError};

const MAX_MATCHINGS: usize = 1024;
/// Maximum number of attachments of one owner: a user, a grant, or the applications of a namespace.
const MAX_OF_OWNER: usize = 256;

impl<K: Kernel> Engine<K> {
    /// Attaches a program to every interface that matches, now and later. Failures at single interfaces are retried.
    pub fn attach_matching(&self, request: &MatchRequest) -> Result<MatchingDetails, EngineError> {
        self.attach_matching_within(request, None)
    }

    /// Attaches as [`Self::attach_matching`] does, up to a maximum number of links of the owner.
    pub fn attach_matching_within(
        &self,
        request: &MatchRequest,
        most_links: Option<u64>,
    ) -> Result<MatchingDetails, EngineError> {
        crate::attach::check(&request.attach)?;
        let _operation = self.begin()?;
        let id = self.record_matching(request, most_links)?;
        for netns in self.namespaces_of(&request.interfaces) {
            match self.follow_interfaces(netns.as_deref()) {
                Ok(_) | Err(EngineError::Kernel(KernelError::NoNamespace { .. })) => {}
                Err(error) => {
                    tracing::warn!(%error, ?netns, "interfaces cannot be listed, and are looked at again soon");
                }
            }
        }
        self.describe_matching(id)
    }

    fn record_matching(
        &self,
        request: &MatchRequest,
        most_links: Option<u64>,
    ) -> Result<MatchingId, EngineError> {
        let (_program_lock, program) = self.lock_program(request.attach.program)?;
        let point = &request.attach.point;
        if !point.admits(program.program_type) {
            return Err(EngineError::WrongPoint {
                program: program.id,
                program_type: program.program_type,
                point: point.type_name(),
            });
        }
        if point.hook().is_none() {
            return Err(EngineError::Invalid(format!(
                "a point of type {} is at no interface, so nothing can match",
                point.type_name()
            )));
        }
        let is_root = request.attach.owner == Owner::Root;
        self.ensure_no_pause(&program, is_root)?;
        self.check_count(request, &program)?;
        let id = MatchingId(
            u32::try_from(self.number())
                .map_err(|_| EngineError::Fault("this daemon has used up all ids".to_owned()))?,
        );
        let record = MatchingRecord {
            id,
            program: program.uid,
            point: at_interface(point, &Interface { name: String::new(), netns: None }),
            interfaces: request.interfaces.clone(),
            order: request.attach.order.clone(),
            sharing: request.attach.sharing,
            metadata: request.attach.metadata.clone(),
            owner: Some(request.attach.owner.clone()),
            ends: self.deadline(request.attach.ttl)?,
            most_links,
            counts_on: None,
        };
        let mut changes = Changes::default();
        changes.put_matching(record);
        changes.all.extend(self.forgiven(program.uid));
        self.step("attach matching", "record");
        self.commit(changes)?;
        self.end_pause_by(&program, is_root);
        Ok(id)
    }

    fn check_count(&self, request: &MatchRequest, program: &ProgramRecord) -> Result<(), EngineError> {
        let state = self.state();
        let within = |of: String, count, limit| match count < limit {
            true => Ok(()),
            false => Err(EngineError::MaxMatchings { of, count, limit }),
        };
        within("all owners".to_owned(), state.matchings.len(), MAX_MATCHINGS)?;
        let metadata = with_application(&request.attach.metadata, &program.metadata);
        let own = MapGroup::of(&request.attach.owner, &metadata);
        if own.is_unlimited() {
            return Ok(());
        }
        let (mut of_owner, mut of_owners) = (0, 0);
        for matching in state.matchings.values() {
            let Some(program) = state.programs.get(&matching.program) else { continue };
            let owner = matching.owner.clone().unwrap_or_else(|| program.owner());
            let group = MapGroup::of(&owner, &with_application(&matching.metadata, &program.metadata));
            of_owner += usize::from(group == own);
            of_owners += usize::from(!group.is_unlimited());
        }
        within(format!("programs of {own}"), of_owner, MAX_OF_OWNER)?;
        within(
            "all owners but root and cluster applications".to_owned(),
            of_owners,
            self.options.kept.of_others(MAX_MATCHINGS),
        )
    }

    /// Returns all attachments to matching interfaces, by id.
    pub fn list_matching(&self) -> Result<Vec<MatchingDetails>, EngineError> {
        let ids: Vec<MatchingId> = self.state().matchings.keys().copied().collect();
        let (budget, _search) = (self.observation_budget(), SearchOnce::begin());
        let mut shown = Vec::with_capacity(ids.len());
        for id in ids {
            shown.extend(if_there(self.settled_matching(&budget, id))?);
        }
        Ok(shown)
    }

    /// Returns the attachment with this id.
    pub fn describe_matching(&self, id: MatchingId) -> Result<MatchingDetails, EngineError> {
        self.settled_matching(&self.observation_budget(), id)
    }

    fn settled_matching(
        &self,
        budget: &ObservationBudget,
        id: MatchingId,
    ) -> Result<MatchingDetails, EngineError> {
        let gone = EngineError::NoMatching(id);
        let (matching, program, links, failures) = {
            let state = self.state();
            let Some(matching) = state.matchings.get(&id).cloned() else { return Err(gone) };
            let Some(program) = state.programs.get(&matching.program).cloned() else { return Err(gone) };
            let links: Vec<LinkId> = state.links_of_matching(id).map(|link| link.id).collect();
            let failures = state.unmatched.get(&id).into_iter().flatten();
            let failures: Vec<String> = failures
                .map(|failure| format!("{}: {}", place(&failure.interface), failure.reason))
                .collect();
            (matching, program, links, failures)
        };
        let mut shown: Vec<LinkDetails> = Vec::with_capacity(links.len());
        for link in links {
            shown.extend(if_there(self.settled_link(budget, link))?);
        }
        let left = self.left(matching.ends.as_ref());
        Ok(MatchingDetails { record: matching, program, links: shown, left, failures })
    }

    /// Ends an attachment with all its links, and returns their number. Failures are retried by the next comparison.
    pub fn detach_matching(&self, id: MatchingId) -> Result<usize, EngineError> {
        let _operation = self.begin()?;
        let program = self.state().matchings.get(&id).ok_or(EngineError::NoMatching(id))?.program;
        let links = {
            let _program_lock = self.lock(Subject::Program(program));
            if !self.state().matchings.contains_key(&id) {
                return Err(EngineError::NoMatching(id));
            }
            let mut changes = Changes::default();
            changes.end_matching(id);
            self.step("detach matching", "record");
            self.commit(changes)?;
            // It creates no more links: that is refused under the lock of its program.
            self.state().links_of_matching(id).map(|link| link.id).collect()
        };
        self.end_all(links)
    }

    /// Ends links of ended attachments, left by a crash or a failure. Returns their number.
    pub(crate) fn end_orphans(&self) -> Result<usize, EngineError> {
        let orphans = {
            let state = self.state();
            let is_orphan = |matching: MatchingId| !state.matchings.contains_key(&matching);
            let links = state.links.values();
            links.filter(|link| link.matching.is_some_and(is_orphan)).map(|link| link.id).collect()
        };
        self.end_all(orphans)
    }

    fn end_all(&self, links: Vec<LinkId>) -> Result<usize, EngineError> {
        let count = links.len();
        let mut failed = None;
        for link in links {
            failed = failed.or(if_there(self.detach(link)).err());
        }
        failed.map_or(Ok(count), Err)
    }

    pub(crate) fn forget_absent_matches(&self, report: &mut RecoveryReport) {
        let made: Vec<_> = {
            let state = self.state();
            state.links.values().filter(|link| link.matching.is_some()).cloned().collect()
        };
        for link in made {
            let result = match self.is_match_gone(&link) {
                // A namespace without its path may still exist: remove both the link and its record, or neither.
                Ok(true) => self.remove_made(vec![Arc::clone(&link)]).map(drop),
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            };
            report.note(format!("link {}", link.id), result);
        }
    }

    /// Returns whether the interface of a match is gone, not only renamed or in a namespace whose path changed.
    fn is_match_gone(&self, link: &LinkRecord) -> Result<bool, EngineError> {
        let Some((interface, kind)) = link.point.hook() else { return Ok(false) };
        let is_named = !matches!(
            self.kernel.find_hook(interface, kind),
            Err(KernelError::NoInterface { .. } | KernelError::NoNamespace { .. })
        );
        if is_named {
            return Ok(false);
        }
        let Some(key) = link.hook.filter(|key| link.boot == self.boot && key.netns.id().is_some()) else {
            return Ok(true);
        };
        let hook = self.state().hooks.get(&key).cloned();
        let standing = match hook {
            Some(hook) => self.observe_entry(&hook)?.standing,
            None => self.observe_alone(link)?.standing,
        };
        // If another interface has the number now, the recorded interface is gone.
        Ok(matches!(standing, Standing::Gone | Standing::Waiting | Standing::Lost { .. }))
    }

    /// Refuses a link if its matching has ended, if the owner's limit is reached, or if the program is already attached
    /// there. The caller holds the locks.
    pub(crate) fn ensure_not_there(
        &self,
        matching: MatchingId,
        program: &ProgramRecord,
        key: &HookKey,
        interface: &Interface,
    ) -> Result<(), EngineError> {
        let state = self.state();
        let Some(record) = state.matchings.get(&matching) else {
            return Err(EngineError::NoMatching(matching));
        };
        match existing_link(&state, program.uid, key) {
            Some(link) => {
                Err(EngineError::AlreadyThere { program: program.id, hook: key.kind.at(interface), link })
            }
            None => {
                let owner = record.owner.clone().unwrap_or_else(|| program.owner());
                match record.most_links.filter(|most| state.owned_counts(&owner).links >= *most) {
                    Some(most) => Err(EngineError::MaxLinks { of: owner.to_string(), most }),
                    None => Ok(()),
                }
            }
        }
    }
}

pub fn at_interface(point: &AttachPoint, interface: &Interface) -> AttachPoint {
    let mut point = point.clone();
    if let Some(at) = point.interface_mut() {
        at.clone_from(interface);
    }
    point
}
