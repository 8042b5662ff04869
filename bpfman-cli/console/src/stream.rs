//! Streams of events to pages (`text/event-stream`), limited in number. A stream ends if its page does not read.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::answer::{ConsoleAnswer, ConsoleRefusal};

/// Maximum number of events that wait for a page, beyond the socket's buffer.
const WAITING: usize = 8;

/// Time after which the stream of a page that reads nothing ends. The page opens another when it reads again.
const STALL: Duration = Duration::from_secs(20);

/// The page is closed, or does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the page takes no more events")]
pub struct PageClosed;

/// Limit on the number of open streams.
#[derive(Clone, Debug)]
pub struct StreamPlaces {
    free: Arc<Semaphore>,
    most: usize,
}

#[derive(Debug)]
pub struct EventSender {
    events: mpsc::Sender<Bytes>,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
pub struct EventBody {
    events: mpsc::Receiver<Bytes>,
}

impl StreamPlaces {
    /// Limits the number of streams to `most`.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(most)), most }
    }

    /// Opens a stream, unless the maximum number is open: returns its sender, and the answer for the page.
    pub fn open(&self) -> Result<(EventSender, ConsoleAnswer), ConsoleRefusal> {
        let place = Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            let message = format!("{} streams of this console are open, as many as may be", self.most);
            ConsoleRefusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
                .with_hint("close other windows of this console")
        })?;
        let (sender, events) = mpsc::channel(WAITING);
        Ok((EventSender { events: sender, _place: place }, ConsoleAnswer::events(EventBody { events })))
    }
}

impl EventSender {
    pub async fn send(&self, name: &str, data: &impl Serialize) -> Result<(), PageClosed> {
        // JSON on one line has no line ends, which would end the event.
        let data = serde_json::to_string(data).map_err(|_| PageClosed)?;
        self.write(format!("event: {name}\ndata: {data}\n\n")).await
    }

    /// Sends a comment that keeps the stream open, also in proxies.
    pub async fn ping(&self) -> Result<(), PageClosed> {
        self.write(": alive\n\n".to_owned()).await
    }

    /// Returns when the page is closed.
    pub async fn closed(&self) {
        self.events.closed().await;
    }

    async fn write(&self, text: String) -> Result<(), PageClosed> {
        self.events.send_timeout(text.into(), STALL).await.map_err(|_| PageClosed)
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.events.poll_recv(context).map(|event| event.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn an_event_is_one_block_whatever_is_in_its_texts() {
        let (sender, answer) = StreamPlaces::new(1).open().unwrap();
        sender.send("journal", &"a\nevent: other\n\n").await.unwrap();
        drop(sender);
        let all = answer.into_response().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(all, "event: journal\ndata: \"a\\nevent: other\\n\\n\"\n\n");
    }

    #[tokio::test]
    async fn streams_are_bounded_and_one_that_ends_gives_its_place_back() {
        let places = StreamPlaces::new(1);
        let (sender, answer) = places.open().unwrap();
        assert_eq!(places.open().unwrap_err().reason, "busy");
        drop(answer);
        sender.closed().await;
        assert_eq!(sender.ping().await, Err(PageClosed));
        drop(sender);
        places.open().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_does_not_read_loses_its_stream() {
        let (sender, _unread) = StreamPlaces::new(1).open().unwrap();
        for _ in 0..WAITING {
            sender.ping().await.unwrap();
        }
        assert_eq!(sender.ping().await, Err(PageClosed));
    }
}
