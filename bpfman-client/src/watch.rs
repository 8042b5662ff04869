//! Following what changes.

use bpfman_proto::ext::v1 as ext;
use ext::watch_event::Event;
use tonic::Streaming;

use crate::Error;

/// A stream of changes. It ends with the connection: begin a new one then, and look at everything again.
#[derive(Debug)]
pub struct Watch {
    stream: Streaming<ext::WatchEvent>,
}

/// What changed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum WatchedChange {
    /// All interfaces that there are now. The first of a stream is one of these.
    Interfaces(Vec<ext::NetworkInterface>),
    /// Programs or links, by whatever cause: ask again for what you hold. Bursts are told once.
    Objects,
}

impl Watch {
    pub(crate) const fn new(stream: Streaming<ext::WatchEvent>) -> Self {
        Self { stream }
    }

    /// Waits for the next change; none when the daemon ends.
    ///
    /// # Errors
    /// [`Error::Refused`]: the connection broke.
    pub async fn next(&mut self) -> Result<Option<WatchedChange>, Error> {
        loop {
            let Some(message) = self.stream.message().await? else { return Ok(None) };
            match message.event {
                Some(Event::Interfaces(list)) => return Ok(Some(WatchedChange::Interfaces(list.interfaces))),
                Some(Event::Changed(_)) => return Ok(Some(WatchedChange::Objects)),
                // Of a newer daemon.
                None => {}
            }
        }
    }
}
