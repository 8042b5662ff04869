//! Repeated attachments of a program: refused where the kernel accepts only one, or on the caller's request.

use std::sync::Arc;

use bpfman_model::{AttachPoint, HookKey, HookKind, Interface, LinkId, MatchingId, ProgramUid};
use bpfmand_kernel::Kernel;

use crate::state::State;
use crate::state::records::{LinkRecord, ProgramRecord};
use crate::{Engine, EngineError};

pub fn existing_link(state: &State, program: ProgramUid, key: &HookKey) -> Option<LinkId> {
    state.links_of(program).find(|link| link.hook.as_ref() == Some(key)).map(|link| link.id)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachFor {
    Caller,
    CallerOnce,
    Matching(MatchingId),
}

impl AttachFor {
    pub const fn matching(self) -> Option<MatchingId> {
        match self {
            Self::Matching(matching) => Some(matching),
            Self::Caller | Self::CallerOnce => None,
        }
    }
}

impl<K: Kernel> Engine<K> {
    pub(super) fn ensure_not_repeated(
        &self,
        program: &ProgramRecord,
        key: &HookKey,
        interface: &Interface,
    ) -> Result<(), EngineError> {
        let has_chain = !matches!(key.kind, HookKind::Tcx(_));
        match existing_link(&self.state(), program.uid, key).filter(|_| has_chain) {
            Some(link) => {
                Err(EngineError::Repeated { program: program.id, hook: key.kind.at(interface), link })
            }
            None => Ok(()),
        }
    }

    /// Refuses a second attachment where the kernel allows one: its own error is just "file exists".
    pub(super) fn ensure_attached_once(
        &self,
        program: &ProgramRecord,
        link: &LinkRecord,
    ) -> Result<(), EngineError> {
        let once = link.hook.is_some()
            || matches!(
                link.point,
                AttachPoint::Tracepoint { .. }
                    | AttachPoint::RawTracepoint { .. }
                    | AttachPoint::BtfTracepoint
                    | AttachPoint::StructOps { .. }
                    | AttachPoint::Netkit { .. }
                    | AttachPoint::Freplace
            );
        let state = self.state();
        let same = |other: &&Arc<LinkRecord>| match link.hook {
            Some(_) => other.hook == link.hook,
            None => other.point == link.point,
        };
        match state.links_of(program.uid).find(same) {
            Some(other) if once => Err(EngineError::AlreadyThere {
                program: program.id,
                hook: link.point.to_string(),
                link: other.id,
            }),
            _ => Ok(()),
        }
    }
}
