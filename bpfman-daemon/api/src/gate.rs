//! Gate that refuses changes while break-glass is in effect.

use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use bpfman_model::Hint;
use tonic::Status;

use crate::status::conflict;

/// Gate that every change enters and holds until it is done. Closing it waits for the changes inside.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<GateState>,
    inside: RwLock<()>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum GateState {
    #[default]
    Open,
    /// State in which no change may enter, but some are still inside.
    Closing(String),
    Closed(String),
}

impl Gate {
    /// Closes the gate, with a reason. Returns when no change is inside.
    pub fn close(&self, why: &str) {
        self.set(GateState::Closing(why.to_owned()));
        let _all_left = self.inside.write().unwrap_or_else(PoisonError::into_inner);
        self.set(GateState::Closed(why.to_owned()));
    }

    pub fn open(&self) {
        self.set(GateState::Open);
    }

    /// Returns the reason why the gate is closed; `None` while it is open or changes are still inside.
    #[must_use]
    pub fn closed(&self) -> Option<String> {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            GateState::Closed(why) => Some(why.clone()),
            GateState::Open | GateState::Closing(_) => None,
        }
    }

    /// Enters the gate until the guard is dropped.
    pub fn enter(&self) -> Result<RwLockReadGuard<'_, ()>, Status> {
        self.check()?;
        let inside = self.inside.read().unwrap_or_else(PoisonError::into_inner);
        // The gate may have been closed before the lock was acquired.
        self.check()?;
        Ok(inside)
    }

    /// Checks as [`Self::enter`] does, without entering: it never waits.
    pub fn check(&self) -> Result<(), Status> {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            GateState::Open => Ok(()),
            GateState::Closing(why) | GateState::Closed(why) => Err(conflict(
                &format!("nothing of bpfman is attached, and nothing may be changed: {why}"),
                Hint::EndBreakGlass,
            )),
        }
    }

    fn set(&self, state: GateState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn gate_closes_once_all_callers_left_and_admits_no_more() {
        let gate = Arc::new(Gate::default());
        let inside = gate.enter().unwrap();
        let (told, closed) = channel();
        let other = Arc::clone(&gate);
        let closes = std::thread::spawn(move || {
            other.close("root said so");
            told.send(()).unwrap();
        });
        // A closing gate refuses new changes at once, and is not closed while one is inside.
        while gate.enter().is_ok() {
            std::thread::yield_now();
        }
        assert_eq!(gate.closed(), None);
        assert!(closed.try_recv().is_err());
        drop(inside);
        closed.recv().unwrap();
        closes.join().unwrap();
        assert_eq!(gate.closed().as_deref(), Some("root said so"));
        assert!(gate.enter().unwrap_err().message().contains("root said so"));
        gate.open();
        assert!(gate.enter().is_ok());
    }
}
