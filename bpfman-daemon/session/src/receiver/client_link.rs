//! Messages to the client.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use bpfmand_calls::{Channel, SessionMessage};

/// Maximum number of refusals that are shown: a program may try every call.
const MAX_REFUSALS: usize = 32;

/// Connection to the client, to which several threads send.
#[derive(Debug)]
pub struct ClientLink {
    channel: Channel,
    shown: Mutex<BTreeSet<String>>,
}

impl ClientLink {
    pub const fn new(channel: Channel) -> Self {
        Self { channel, shown: Mutex::new(BTreeSet::new()) }
    }

    /// Returns the connection to receive from, for one thread.
    pub const fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Shows the reason of a refusal, once.
    pub fn show_refusal(&self, reason: &str, of_load: bool) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.len() < MAX_REFUSALS && shown.insert(reason.to_owned()) {
            let message = SessionMessage::Refused { reason: reason.to_owned(), of_load };
            let _gone = self.channel.send(message, &[], &[]);
        }
    }

    /// Sends a line for the list of programs that the client records.
    pub fn send_loaded(&self, line: String) {
        let _one_at_a_time = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let _gone = self.channel.send(SessionMessage::Loaded(line), &[], &[]);
    }

    /// Sends how the command ended.
    pub fn send_end(&self, message: &SessionMessage) {
        let _one_at_a_time = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let _gone = self.channel.send(message, &[], &[]);
    }
}
