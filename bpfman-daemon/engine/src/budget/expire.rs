//! Ends objects at their deadline, which is recorded.

use std::sync::Arc;
use std::time::Duration;

use bpfman_model::{Deadline, LinkId, MachineTime, MatchingId, ProgramId, ProgramUid};
use bpfmand_kernel::Kernel;

use crate::engine::freeze_exemption::FreezeExemption;
use crate::engine::locks::Subject;
use crate::error::if_there;
use crate::state::Changes;
use crate::state::records::{LinkRecord, MatchingRecord, ProgramRecord};
use crate::{Engine, EngineError};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Expirable {
    Program(ProgramUid),
    Matching(MatchingId),
    Link(LinkId),
}

/// Reason of an automatic end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The deadline has passed.
    Deadline,
    /// The client that held the lease is gone.
    Lease,
}

/// Object that ended automatically.
#[derive(Debug)]
pub struct Expired {
    /// Description, such as "program 7 wall" or "link 9".
    pub what: String,
    pub programs: Vec<ProgramId>,
    pub links: Vec<LinkId>,
    pub owner: String,
    pub ending: Ending,
    /// Error if the object still exists. It is retried.
    pub failure: Option<EngineError>,
}

impl<K: Kernel> Engine<K> {
    /// Returns whether an object has a deadline or a lease.
    #[must_use]
    pub fn has_deadlines(&self) -> bool {
        let state = self.state();
        state.programs.values().any(|program| program.budget.ends.is_some())
            || state.links.values().any(|link| link.ends.is_some())
            || state.matchings.values().any(|matching| matching.ends.is_some())
            || state.programs.values().any(|program| program.budget.lease.is_some())
    }

    /// Returns the time until the next deadline; `None` without deadlines.
    pub fn next_deadline(&self) -> Result<Option<Duration>, EngineError> {
        if !self.has_deadlines() {
            return Ok(None);
        }
        if self.has_left_by_clients() {
            return Ok(Some(Duration::ZERO));
        }
        let now = self.now()?;
        Ok(self.mortals().into_iter().map(|(_, deadline)| deadline.left(&now)).min())
    }

    /// Ends all objects whose deadline has passed or whose lease is over. Failures are in the result.
    pub fn expire(&self) -> Result<Vec<Expired>, EngineError> {
        if !self.has_deadlines() {
            return Ok(Vec::new());
        }
        let now = self.now()?;
        self.anchor(&now);
        let mut over = self.mortals();
        over.retain(|(_, deadline)| deadline.left(&now).is_zero());
        // Programs first: their links end with them.
        over.sort_unstable_by_key(|(mortal, _)| *mortal);
        Ok(FreezeExemption::All.during(|| {
            let mut expired = self.end_left_by_clients();
            expired.extend(over.into_iter().filter_map(|(mortal, deadline)| self.end(mortal, &deadline)));
            expired
        }))
    }

    fn mortals(&self) -> Vec<(Expirable, Deadline)> {
        let state = self.state();
        let programs = state
            .programs
            .values()
            .filter_map(|program| Some((Expirable::Program(program.uid), program.budget.ends.clone()?)));
        let matchings = state
            .matchings
            .values()
            .filter_map(|matching| Some((Expirable::Matching(matching.id), matching.ends.clone()?)));
        let links =
            state.links.values().filter_map(|link| Some((Expirable::Link(link.id), link.ends.clone()?)));
        programs.chain(matchings).chain(links).collect()
    }

    /// Ends an object; `None` if it is already gone, or its deadline was extended.
    fn end(&self, mortal: Expirable, deadline: &Deadline) -> Option<Expired> {
        let (mut expired, ended) = match mortal {
            Expirable::Program(uid) => {
                let program = self.record(uid).filter(|now| now.budget.ends.as_ref() == Some(deadline))?;
                let links = self.state().links_of(uid).map(|link| link.id).collect();
                let what = format!("program {} {}", program.id, program.name);
                let ended = self.unload_if(uid, |now| now.budget.ends.as_ref() == Some(deadline));
                if matches!(ended, Ok(false)) {
                    return None;
                }
                (told(what, &program, links, None), ended.map(drop))
            }
            Expirable::Matching(id) => {
                let matching = self.state().matchings.get(&id).cloned()?;
                let program = self.record(matching.program)?;
                let links = self.state().links_of_matching(id).map(|link| link.id).collect();
                let what = format!("attachment {id} of program {} {}", program.id, program.name);
                let owner = matching.owner.as_ref().map(ToString::to_string);
                (told(what, &program, links, owner), self.detach_matching(id).map(drop))
            }
            Expirable::Link(id) => {
                let link = self.state().links.get(&id).cloned()?;
                let program = self.record(link.program)?;
                let what = format!("link {id} of program {} {} at {}", program.id, program.name, link.point);
                let owner = Some(link.owner(&program).to_string());
                (told(what, &program, vec![id], owner), self.detach(id))
            }
        };
        expired.failure = if_there(ended).err();
        Some(expired)
    }

    /// Rewrites deadlines of other boots, or from before the clock was set. A failed write is retried at the next call.
    fn anchor(&self, now: &MachineTime) {
        for (mortal, deadline) in self.mortals() {
            if let Some(anchored) = deadline.anchored(now)
                && let Err(error) = self.set_deadline(mortal, &deadline, anchored)
            {
                tracing::warn!(%error, "a deadline cannot be written again");
            }
        }
    }

    fn set_deadline(&self, mortal: Expirable, old: &Deadline, new: Deadline) -> Result<(), EngineError> {
        let mut changes = Changes::default();
        let (ends, was) = (Some(new), Some(old));
        let _held;
        match mortal {
            Expirable::Program(uid) => {
                _held = vec![self.lock(Subject::Program(uid))];
                let Some(program) = self.record(uid).filter(|now| now.budget.ends.as_ref() == was) else {
                    return Ok(());
                };
                let mut program = ProgramRecord::clone(&program);
                program.budget.ends = ends;
                changes.put_program(program);
            }
            Expirable::Matching(id) => {
                let program = self.state().matchings.get(&id).map(|matching| matching.program);
                let Some(program) = program else { return Ok(()) };
                _held = vec![self.lock(Subject::Program(program))];
                let Some(matching) = self.state().matchings.get(&id).cloned() else { return Ok(()) };
                changes.put_matching(MatchingRecord { ends, ..(*matching).clone() });
            }
            Expirable::Link(id) => {
                let Some((link, held)) = self.lock_link(id) else { return Ok(()) };
                _held = held;
                changes.put_link(Arc::new(LinkRecord { ends, ..(*link).clone() }));
            }
        }
        self.commit(changes).map(drop)
    }
}

fn told(what: String, program: &ProgramRecord, links: Vec<LinkId>, owner: Option<String>) -> Expired {
    let owner = owner.unwrap_or_else(|| program.owner().to_string());
    Expired { what, programs: vec![program.id], links, owner, ending: Ending::Deadline, failure: None }
}
