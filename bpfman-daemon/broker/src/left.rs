//! Pins and attachments that commands left, where their grant keeps them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bpfman_model::Owner;

use crate::lasting::{LastingAttachment, LastingRecord};
use crate::session::BrokeredSession;
use crate::sessions::Sessions;
use crate::{SessionError, record, starter};

/// Maximum time until the kernel has freed the objects of a command, in milliseconds.
const FREED_WITHIN: u32 = 100;

#[derive(Debug, Default)]
pub struct LeftSessions(Mutex<Vec<Arc<BrokeredSession>>>);

/// Failure to remove what a session left.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    #[error("no session \"{0}\" left anything")]
    Unknown(String),
    #[error("session {0} runs")]
    Runs(String),
    /// The pins of the session could not be removed.
    #[error(transparent)]
    Pins(#[from] SessionError),
}

impl LeftSessions {
    fn all(&self) -> MutexGuard<'_, Vec<Arc<BrokeredSession>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn list(&self) -> Vec<Arc<BrokeredSession>> {
        self.all().clone()
    }

    fn find(&self, name: &str) -> Option<Arc<BrokeredSession>> {
        self.all().iter().find(|session| session.facts.name == name).cloned()
    }
}

impl Sessions {
    /// Ends a session whose command has ended: what its grant keeps stays, everything else is removed.
    pub(crate) fn end(&self, session: &Arc<BrokeredSession>) {
        if session.keeps() {
            let lasting = std::mem::take(&mut *session.lasting());
            session.left().extend(lasting.into_iter().map(LastingAttachment::into_record));
            self.left.all().push(Arc::clone(session));
            self.forget_running(session);
            for _ in 0..FREED_WITHIN {
                if !session.has_anything() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        } else {
            session.end_lasting();
            end_recorded(session);
            if let Err(error) = self.remove_pins(&session.facts.name) {
                tracing::warn!(%error, session = session.facts.name, "pins of an ended session stay");
            }
            session.remove_record();
            self.forget_running(session);
        }
        self.forget_empty();
    }

    /// Forgets sessions of which nothing exists any more.
    pub(crate) fn forget_empty(&self) {
        let gone: Vec<_> = self.left.list().into_iter().filter(|session| !session.has_anything()).collect();
        for session in gone {
            match self.remove_left(&session) {
                Ok(()) => {}
                Err(error) => tracing::warn!(%error, "the folder of a session's pins stays"),
            }
        }
    }

    /// Returns the owner of what a session left.
    pub fn owner_of_left(&self, name: &str) -> Result<Owner, RemovalError> {
        let found = self.left.find(name).map(|session| session.owner());
        found.ok_or_else(|| match self.running_named(name) {
            true => RemovalError::Runs(name.to_owned()),
            false => RemovalError::Unknown(name.to_owned()),
        })
    }

    /// Removes the pins and attachments that a session left.
    pub fn remove(&self, name: &str) -> Result<(), RemovalError> {
        let session = self.left.find(name).ok_or_else(|| RemovalError::Unknown(name.to_owned()))?;
        Ok(self.remove_left(&session)?)
    }

    fn remove_left(&self, session: &Arc<BrokeredSession>) -> Result<(), SessionError> {
        self.remove_pins(&session.facts.name)?;
        end_recorded(session);
        session.remove_record();
        self.left.all().retain(|one| !Arc::ptr_eq(one, session));
        Ok(())
    }

    pub(crate) fn remove_pins(&self, name: &str) -> Result<(), SessionError> {
        if !record::has_pins(&self.folder, name) {
            return Ok(());
        }
        starter::remove_pins(&self.folder, name)
    }
}

/// Detaches the attachments that only the session's record keeps, newest first.
fn end_recorded(session: &BrokeredSession) {
    let left = std::mem::take(&mut *session.left());
    left.into_iter().rev().filter_map(LastingRecord::open).for_each(LastingAttachment::end);
}
