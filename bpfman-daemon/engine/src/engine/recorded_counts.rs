//! Objects that the current call has reserved in its owners' counts: a recorded object gives its reservation back.

use std::cell::RefCell;
use std::sync::Arc;

use bpfman_model::Owner;

use crate::OwnedCounts;
use crate::state::State;

/// Reservations of a call.
pub trait ReservedObjects: Send + Sync {
    /// Returns the owners for which the call reserved objects.
    fn owners(&self) -> Vec<Owner>;
    /// Gives back reservations of objects that are recorded. It is called under the lock of the records.
    fn recorded(&self, owner: &Owner, more: OwnedCounts);
}

thread_local! {
    static RESERVED: RefCell<Option<Arc<dyn ReservedObjects>>> = const { RefCell::new(None) };
}

/// Reservations of the call on the current thread.
#[derive(Debug)]
pub struct RecordedCounts(());

struct Former(Option<Arc<dyn ReservedObjects>>);

impl Drop for Former {
    fn drop(&mut self) {
        RESERVED.set(self.0.take());
    }
}

impl RecordedCounts {
    /// Runs `work`, which creates the reserved objects.
    pub fn during<T>(reserved: Arc<dyn ReservedObjects>, work: impl FnOnce() -> T) -> T {
        let _former = Former(RESERVED.replace(Some(reserved)));
        work()
    }

    pub(crate) fn applying<T>(state: &mut State, apply: impl FnOnce(&mut State) -> T) -> T {
        let Some(reserved) = RESERVED.with_borrow(Clone::clone) else { return apply(state) };
        let counted = |state: &State, owner: Owner| (state.owned_counts(&owner), owner);
        let before: Vec<_> = reserved.owners().into_iter().map(|owner| counted(state, owner)).collect();
        let applied = apply(state);
        for (had, owner) in before {
            let has = state.owned_counts(&owner);
            let programs = has.programs.saturating_sub(had.programs);
            let links = has.links.saturating_sub(had.links);
            reserved.recorded(&owner, OwnedCounts { programs, links });
        }
        applied
    }
}
