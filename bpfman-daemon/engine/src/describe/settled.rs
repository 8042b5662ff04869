//! Readers wait for nobody, and see what the kernel runs and what is recorded one after the other: what seems to differ may
//! only be in the middle of a change.

use std::time::{Duration, Instant};

use bpfmand_core::{HookKey, LinkId};
use bpfmand_kernel::Kernel;

use crate::describe::links::Running;
use crate::engine::locks::{Guard, Subject};
use crate::state::Standing;
use crate::{Engine, EngineError};

/// Longest time of looking at something that is always being changed, and the pause between looks.
const MAX_LOOKS: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2);

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
    /// Looks at something, and once more while nobody changes it if `is_half_done`. Somebody may be changing it all the time:
    /// then it is looked at until it is right in between. `look` reads the records anew each time. The caller holds none of
    /// the subjects.
    pub(super) fn settled<T>(
        &self,
        look: impl Fn() -> Result<T, EngineError>,
        is_half_done: impl Fn(&T) -> bool,
        subjects: impl Fn() -> Vec<Subject>,
    ) -> Result<T, EngineError> {
        let began = Instant::now();
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
            if began.elapsed() > MAX_LOOKS {
                return Ok(seen);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Returns what runs at a hook; none if it has no record any more.
    pub(super) fn settled_chain(&self, key: &HookKey) -> Result<Option<Running>, EngineError> {
        self.settled(
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
