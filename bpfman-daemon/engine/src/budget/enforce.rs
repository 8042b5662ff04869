//! Actions for programs that exceed their CPU limit.

use bpfman_model::{CpuAction, CpuExcess, ProgramUid};
use bpfmand_kernel::Kernel;

use super::exceeded::OverLimit;
use crate::engine::freeze_exemption::FreezeExemption;
use crate::engine::locks::Subject;
use crate::state::records::ProgramRecord;
use crate::state::{Change, Changes, Record};
use crate::{Engine, EngineError, PausedFor};

/// Action taken for an excess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuOutcome {
    /// The excess was recorded for the first time.
    Warned,
    /// The excess was recorded before, and continues.
    StillOver,
    /// The program was detached.
    Detached {
        /// Number of ended links and attachments to matching interfaces.
        attachments: usize,
    },
    /// The program, or each of its attachments, ended before the window did.
    Ended,
    /// The previous version was restored.
    TookBack,
    /// The program is not attached, or does not exist.
    Gone,
}

impl<K: Kernel> Engine<K> {
    /// Takes the action of the limit. A detached program stays detached until it is attached again. A version that was
    /// replaced for its cost is never restored. After an error, the next window detects the excess again.
    pub fn limit_cpu(&self, over: &OverLimit) -> Result<CpuOutcome, EngineError> {
        FreezeExemption::All.during(|| self.act_on_excess(over))
    }

    fn act_on_excess(&self, over: &OverLimit) -> Result<CpuOutcome, EngineError> {
        let program = over.program;
        match over.excess.done {
            CpuAction::Warn => {
                let is_new = self.state().warned.insert(program, over.excess.clone()).is_none();
                Ok(if is_new { CpuOutcome::Warned } else { CpuOutcome::StillOver })
            }
            CpuAction::Detach => self.detach_for(over),
            CpuAction::Previous => {
                let comes_back = {
                    let state = self.state();
                    state.previous.get(&program).is_some_and(|before| before.program.budget.excess.is_none())
                };
                if comes_back { self.take_back_for(over) } else { self.detach_for(over) }
            }
        }
    }

    /// Removes warnings of programs that are within their limits again.
    pub fn forget_warnings_but(&self, over: &[ProgramUid]) {
        self.state().warned.retain(|program, _| over.contains(program));
    }

    fn detach_for(&self, over: &OverLimit) -> Result<CpuOutcome, EngineError> {
        let uid = over.program;
        let _operation = self.begin()?;
        // The program was unloaded within the window, but its owner has spent the time.
        let Some(program) = self.record(uid) else {
            return Ok(if self.begin_pause(over)? { CpuOutcome::Ended } else { CpuOutcome::Gone });
        };
        let (_program_lock, program) = self.lock_program(program.id)?;
        let (links, _hook_locks) = self.lock_links(std::slice::from_ref(&program));
        let matchings = self.state().matchings_of(uid);
        let attachments = links.len() + matchings.len();
        // A program that its owner detached before the end of the window has exceeded its limit as well.
        if attachments == 0 && program.budget.excess.is_some() {
            return Ok(CpuOutcome::Gone);
        }
        let mut more = Changes::default();
        matchings.into_iter().for_each(|matching| more.end_matching(matching));
        // An adopted program is managed only while it is attached.
        let adopted = program.is_adopted();
        if !adopted {
            let mut noted = ProgramRecord::clone(&program);
            noted.budget.excess = Some(CpuExcess { done: CpuAction::Detach, ..over.excess.clone() });
            more.put_program(noted);
        }
        let result = self.remove_with("limit", &links, Some(&*program).filter(|_| adopted), more);
        links.iter().filter_map(|link| link.hook).for_each(|key| self.keep_order(&key));
        self.state().warned.remove(&uid);
        result?;
        self.begin_pause(over)?;
        Ok(if attachments == 0 { CpuOutcome::Ended } else { CpuOutcome::Detached { attachments } })
    }

    /// Rolls a program back. The excess is recorded first: after a crash in between, the next window detects the same.
    fn take_back_for(&self, over: &OverLimit) -> Result<CpuOutcome, EngineError> {
        let uid = over.program;
        let id = {
            let _program_lock = self.lock(Subject::Program(uid));
            let Some(program) = self.record(uid) else { return Ok(CpuOutcome::Gone) };
            let mut noted = ProgramRecord::clone(&program);
            noted.budget.excess = Some(CpuExcess { done: CpuAction::Previous, ..over.excess.clone() });
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
            let detached = self.detach_for(over)?;
            self.state().not_taken_back.remove(&uid);
            return Ok(detached);
        }
        self.state().not_taken_back.remove(&uid);
        self.state().warned.remove(&uid);
        Ok(CpuOutcome::TookBack)
    }

    /// Pauses the owner if the owner's limit was exceeded, rather than the load's. Returns whether it was.
    fn begin_pause(&self, over: &OverLimit) -> Result<bool, EngineError> {
        if over.payer.is_unlimited() || over.excess.owner_used.is_none() {
            return Ok(false);
        }
        let why = if over.excess.of_traps { PausedFor::Breakpoints } else { PausedFor::CpuTime };
        let now = self.now()?.since_boot;
        self.state().pauses.begin(over.payer.clone(), why, now);
        Ok(true)
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
