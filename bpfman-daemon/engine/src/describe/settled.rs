//! Readers take no locks, and see what the kernel runs and what is recorded one after the other: what seems to differ may
//! only be in the middle of a change.

use std::time::{Duration, Instant};

use bpfmand_core::{HookKey, LinkId};
use bpfmand_kernel::Kernel;

use crate::describe::links::Running;
use crate::engine::locks::{Guard, Subject};
use crate::state::Standing;
use crate::{Engine, EngineError};

/// Longest time of looking at things that are always being changed, and the pause between looks.
const MAX_LOOKS: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2);

/// End of the looks at what is being changed: one for a whole list, however many of its entries are changed all the time.
#[derive(Clone, Copy, Debug)]
pub struct LookDeadline(Instant);

impl LookDeadline {
    pub fn begin() -> Self {
        Self(Instant::now() + MAX_LOOKS)
    }
}

impl Standing {
    /// Returns whether a change of others can have been seen half done.
    pub(super) const fn may_be_half_done(&self) -> bool {
        !matches!(
            self,
            Self::Running | Self::Waiting | Self::Elsewhere | Self::OtherPath { .. } | Self::Unreachable
        )
    }
}

impl<K: Kernel> Engine<K> {
    /// Looks at something, and if `is_half_done`, once more while its subjects are locked. As long as others change it, it is
    /// looked at until it is right in between, or the deadline has passed. Each `look` reads the records again. The caller
    /// holds none of the subjects.
    pub(super) fn settled<T>(
        &self,
        deadline: LookDeadline,
        look: impl Fn() -> Result<T, EngineError>,
        is_half_done: impl Fn(&T) -> bool,
        subjects: impl Fn() -> Vec<Subject>,
    ) -> Result<T, EngineError> {
        loop {
            let seen = look()?;
            if !is_half_done(&seen) {
                return Ok(seen);
            }
            let held: Option<Vec<Guard>> =
                subjects().into_iter().map(|subject| self.try_lock(subject)).collect();
            if held.is_some() {
                return look();
            }
            if Instant::now() > deadline.0 {
                return Ok(seen);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Returns what runs at a hook; none if it has no record any more.
    pub(super) fn settled_chain(
        &self,
        deadline: LookDeadline,
        key: &HookKey,
    ) -> Result<Option<Running>, EngineError> {
        self.settled(
            deadline,
            || {
                let hook = self.state().hooks.get(key).cloned();
                hook.map(|hook| self.running_chain(&hook)).transpose()
            },
            |running| running.as_ref().is_some_and(|running| running.standing.may_be_half_done()),
            || vec![Subject::Hook(*key)],
        )
    }

    /// Returns the subjects to lock so that a link does not change.
    pub(super) fn subjects_of(&self, id: LinkId) -> Vec<Subject> {
        let Some(link) = self.state().links.get(&id).cloned() else { return Vec::new() };
        [Subject::Program(link.program)].into_iter().chain(link.hook.map(Subject::Hook)).collect()
    }
}
