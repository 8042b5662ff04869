//! Following changes.

use bpfman_proto::ext::v1 as ext;
use ext::watch_event::Event;
use tonic::Streaming;

use crate::Error;

/// Stream of changes. It ends with the connection: to continue, begin a new stream and read all state again.
#[derive(Debug)]
pub struct Watch {
    stream: Streaming<ext::WatchEvent>,
}

/// Change of the daemon's state.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum WatchedChange {
    /// All interfaces that exist now. The first event of a stream is one of these.
    Interfaces(Vec<ext::NetworkInterface>),
    /// Change of programs or links, for any cause: read again what you use. Bursts are reported once.
    Objects,
}

impl Watch {
    pub(crate) const fn new(stream: Streaming<ext::WatchEvent>) -> Self {
        Self { stream }
    }

    /// Waits for the next change; none if the daemon stops.
    ///
    /// # Errors
    /// [`Error::Refused`]: the connection broke.
    pub async fn next(&mut self) -> Result<Option<WatchedChange>, Error> {
        loop {
            let Some(message) = self.stream.message().await? else { return Ok(None) };
            match message.event {
                Some(Event::Interfaces(list)) => return Ok(Some(WatchedChange::Interfaces(list.interfaces))),
                Some(Event::Changed(_)) => return Ok(Some(WatchedChange::Objects)),
                // Ignore events of a newer daemon.
                None => {}
            }
        }
    }
}
