//! What follows when a program takes more than it may.

use bpfmand_core::{CpuAction, CpuExcess, ProgramUid};
use bpfmand_kernel::Kernel;

use crate::engine::freeze_exemption::FreezeExemption;
use crate::engine::locks::Subject;
use crate::state::records::ProgramRecord;
use crate::state::{Change, Changes, Record};
use crate::{Engine, EngineError};

/// What was done about an excess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuOutcome {
    /// It is noted, and was not before.
    Warned,
    /// It was noted before, and goes on.
    StillOver,
    /// Its links were ended.
    Detached {
        /// How many.
        links: usize,
    },
    /// The version before took its place.
    TookBack,
    /// It is attached nowhere any more, or not there at all.
    Gone,
}

impl<K: Kernel> Engine<K> {
    /// Does what the limit asks for. What was detached stays so, over restarts and reboots, until somebody attaches the
    /// program anew. A version comes back once: the one that was replaced for its cost never does.
    ///
    /// # Errors
    /// See [`EngineError`]; the program runs on then, and the next window sees it again.
    pub fn limit_cpu(&self, program: ProgramUid, excess: &CpuExcess) -> Result<CpuOutcome, EngineError> {
        FreezeExemption::All.during(|| self.act_on_excess(program, excess))
    }

    fn act_on_excess(&self, program: ProgramUid, excess: &CpuExcess) -> Result<CpuOutcome, EngineError> {
        match excess.done {
            CpuAction::Warn => {
                let is_new = self.state().warned.insert(program, excess.clone()).is_none();
                Ok(if is_new { CpuOutcome::Warned } else { CpuOutcome::StillOver })
            }
            CpuAction::Detach => self.detach_for(program, excess),
            CpuAction::Previous => {
                let comes_back = {
                    let state = self.state();
                    state.previous.get(&program).is_some_and(|before| before.program.budget.excess.is_none())
                };
                if comes_back {
                    self.take_back_for(program, excess)
                } else {
                    self.detach_for(program, excess)
                }
            }
        }
    }

    /// Forgets warnings of programs that take no more than they may.
    pub fn forget_warnings_but(&self, over: &[ProgramUid]) {
        self.state().warned.retain(|program, _| over.contains(program));
    }

    /// Ends all links of a program, and what would attach it again, by one record.
    fn detach_for(&self, uid: ProgramUid, excess: &CpuExcess) -> Result<CpuOutcome, EngineError> {
        self.begin()?;
        let Some(program) = self.record(uid) else { return Ok(CpuOutcome::Gone) };
        let (_program_lock, program) = self.lock_program(program.id)?;
        let (links, _hook_locks) = self.lock_links(std::slice::from_ref(&program));
        let matchings = self.state().matchings_of(uid);
        if links.is_empty() && matchings.is_empty() {
            return Ok(CpuOutcome::Gone);
        }
        let mut more = Changes::default();
        matchings.into_iter().for_each(|matching| more.end_matching(matching));
        // An adopted program is ours only as long as it is attached.
        let adopted = program.is_adopted();
        if !adopted {
            let mut noted = ProgramRecord::clone(&program);
            noted.budget.excess = Some(CpuExcess { done: CpuAction::Detach, ..excess.clone() });
            more.put_program(noted);
        }
        let result = self.remove_with("limit", &links, Some(&*program).filter(|_| adopted), more);
        links.iter().filter_map(|link| link.hook).for_each(|key| self.keep_order(&key));
        self.state().warned.remove(&uid);
        result.map(|()| CpuOutcome::Detached { links: links.len() })
    }

    /// Puts the version before into the place of this one. This one is noted first: cut short in between, it runs on, and
    /// the next window finds the same.
    fn take_back_for(&self, uid: ProgramUid, excess: &CpuExcess) -> Result<CpuOutcome, EngineError> {
        let id = {
            let _program_lock = self.lock(Subject::Program(uid));
            let Some(program) = self.record(uid) else { return Ok(CpuOutcome::Gone) };
            let mut noted = ProgramRecord::clone(&program);
            noted.budget.excess = Some(CpuExcess { done: CpuAction::Previous, ..excess.clone() });
            let mut changes = Changes::default();
            changes.put_program(noted);
            self.step("limit", "note");
            self.commit(changes)?;
            program.id
        };
        if let Err(error) = self.rollback_program(id, None) {
            if self.state().not_taken_back.insert(uid) {
                return Err(error);
            }
            // Whoever makes it impossible, as by removing a file that it is attached to, is not to run on for that.
            tracing::warn!(%error, program = %id, "the version before cannot come back: it is detached");
            let detached = self.detach_for(uid, excess)?;
            self.state().not_taken_back.remove(&uid);
            return Ok(detached);
        }
        self.state().not_taken_back.remove(&uid);
        self.state().warned.remove(&uid);
        Ok(CpuOutcome::TookBack)
    }

    /// The record of a program that somebody attaches anew, where it was detached before.
    pub(crate) fn forgiven(&self, uid: ProgramUid) -> Option<Change> {
        let program = self.record(uid)?;
        let mut forgiven = ProgramRecord::clone(&program);
        let excess = forgiven.budget.excess.take_if(|excess| excess.done == CpuAction::Detach);
        excess.map(|_| Change::Put(Record::Program(forgiven.into())))
    }

    /// What a program, or the version that it replaced again, took more than it may.
    pub(crate) fn excess_of(&self, program: &ProgramRecord) -> Option<CpuExcess> {
        let state = self.state();
        let own = program.budget.excess.clone().filter(|excess| excess.done == CpuAction::Detach);
        own.or_else(|| {
            let before = state.previous.get(&program.uid)?;
            before.program.budget.excess.clone().filter(|excess| excess.done == CpuAction::Previous)
        })
        .or_else(|| state.warned.get(&program.uid).cloned())
    }
}
