//! Answers in pieces, so that the daemon knows what is unread, and detects clients that stop reading.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::Instant;

use super::callers::Unread;
use super::limits::{PIECE, STALL};

#[derive(Debug)]
pub struct AnswerProgress {
    began: Instant,
    waiting: AtomicUsize,
    last_milliseconds: AtomicU64,
}

impl Default for AnswerProgress {
    fn default() -> Self {
        Self { began: Instant::now(), waiting: AtomicUsize::new(0), last_milliseconds: AtomicU64::new(0) }
    }
}

impl AnswerProgress {
    fn touch(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_milliseconds.store(now, Ordering::SeqCst);
    }

    /// Returns whether something waits for the client, and it has read nothing for `STALL`.
    pub fn has_stalled(&self) -> bool {
        let last = std::time::Duration::from_millis(self.last_milliseconds.load(Ordering::SeqCst));
        self.waiting.load(Ordering::SeqCst) > 0 && self.began.elapsed().saturating_sub(last) >= STALL
    }
}

#[derive(Debug)]
pub struct AnswerBody {
    body: tonic::body::Body,
    rest: Bytes,
    unread: Unread,
    progress: Arc<AnswerProgress>,
}

impl AnswerBody {
    pub fn new(body: tonic::body::Body, unread: Unread, progress: Arc<AnswerProgress>) -> Self {
        Self { body, rest: Bytes::new(), unread, progress }
    }

    fn put(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.unread.set(data.len());
            self.progress.touch();
            self.progress.waiting.fetch_add(1, Ordering::SeqCst);
            self.rest = data;
        }
    }

    fn take(&mut self) -> Bytes {
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        self.progress.touch();
        if self.rest.is_empty() {
            self.progress.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        self.unread.set(self.rest.len());
        piece
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if !self.rest.is_empty() {
            self.progress.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.put(data),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
        Poll::Ready(Some(Ok(Frame::data(this.take()))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }
}
