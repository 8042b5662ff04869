//! Actions for programs that exceed their CPU limit.

use bpfman_model::{CpuAction, CpuExcess, ProgramUid};
use bpfmand_kernel::Kernel;

use crate::engine::freeze_exemption::FreezeExemption;
use crate::engine::locks::Subject;
use crate::state::records::ProgramRecord;
use crate::state::{Change, Changes, Record, payer};
use crate::{Engine, EngineError, PausedFor};

/// Action taken for an excess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuOutcome {
    /// The excess was recorded for the first time.
    Warned,
    /// The excess was recorded before, and continues.
    StillOver,
    /// The links of the program were ended.
    Detached {
        /// Number of ended links.
        links: usize,
    },
    /// The previous version was restored.
    TookBack,
    /// The program is not attached, or does not exist.
    Gone,
}

impl<K: Kernel> Engine<K> {
    /// Takes the action of the limit. A detached program stays detached until it is attached again. A version that was
    /// replaced for its cost is never restored. After an error, the next window detects the excess again.
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

    /// Removes warnings of programs that are within their limits again.
    pub fn forget_warnings_but(&self, over: &[ProgramUid]) {
        self.state().warned.retain(|program, _| over.contains(program));
    }

    fn detach_for(&self, uid: ProgramUid, excess: &CpuExcess) -> Result<CpuOutcome, EngineError> {
        let _operation = self.begin()?;
        let Some(program) = self.record(uid) else { return Ok(CpuOutcome::Gone) };
        let (_program_lock, program) = self.lock_program(program.id)?;
        let (links, _hook_locks) = self.lock_links(std::slice::from_ref(&program));
        let matchings = self.state().matchings_of(uid);
        // One that its owner detached before the window's end has exceeded its limit as well.
        if links.is_empty() && matchings.is_empty() && program.budget.excess.is_some() {
            return Ok(CpuOutcome::Gone);
        }
        let mut more = Changes::default();
        matchings.into_iter().for_each(|matching| more.end_matching(matching));
        // An adopted program is managed only while it is attached.
        let adopted = program.is_adopted();
        if !adopted {
            let mut noted = ProgramRecord::clone(&program);
            noted.budget.excess = Some(CpuExcess { done: CpuAction::Detach, ..excess.clone() });
            more.put_program(noted);
        }
        let result = self.remove_with("limit", &links, Some(&*program).filter(|_| adopted), more);
        links.iter().filter_map(|link| link.hook).for_each(|key| self.keep_order(&key));
        self.state().warned.remove(&uid);
        result?;
        self.begin_pause(&program, excess)?;
        Ok(CpuOutcome::Detached { links: links.len() })
    }

    /// Rolls a program back. The excess is recorded first: after a crash in between, the next window detects the same.
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
            // A program must not continue to run because its rollback is prevented, for example by removing a file.
            tracing::warn!(%error, program = %id, "the version before cannot come back: it is detached");
            let detached = self.detach_for(uid, excess)?;
            self.state().not_taken_back.remove(&uid);
            return Ok(detached);
        }
        self.state().not_taken_back.remove(&uid);
        self.state().warned.remove(&uid);
        Ok(CpuOutcome::TookBack)
    }

    fn begin_pause(&self, program: &ProgramRecord, excess: &CpuExcess) -> Result<(), EngineError> {
        let owner = payer(program);
        // A limit of the load is its owner's own choice, for that program.
        if owner.is_unlimited() || excess.owner_used.is_none() {
            return Ok(());
        }
        let why = if excess.of_traps { PausedFor::Breakpoints } else { PausedFor::CpuTime };
        let now = self.now()?.since_boot;
        self.state().pauses.begin(owner, why, now);
        Ok(())
    }

    pub(crate) fn forgiven(&self, uid: ProgramUid) -> Option<Change> {
        let program = self.record(uid)?;
        let mut forgiven = ProgramRecord::clone(&program);
        let excess = forgiven.budget.excess.take_if(|excess| excess.done == CpuAction::Detach);
        excess.map(|_| Change::Put(Record::Program(forgiven.into())))
    }

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
