use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::places::ListenerPlace;

/// Limit of receiving a request and starting its response; usual clients close idle connections earlier.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(180);
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Connection that holds its slot and ends after a timeout, which received bytes do not extend.
#[derive(Debug)]
pub struct TimeoutStream<S> {
    stream: S,
    answered: Pin<Box<Sleep>>,
    taken: Option<Pin<Box<Sleep>>>,
    _place: ListenerPlace,
}

impl<S> TimeoutStream<S> {
    /// Wraps a stream, which holds the slot until it is dropped.
    #[must_use]
    pub fn new(stream: S, place: ListenerPlace) -> Self {
        Self { stream, answered: Box::pin(sleep(RESPONSE_TIMEOUT)), taken: None, _place: place }
    }

    fn wrote<T>(&mut self, context: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.answered.as_mut().reset(Instant::now() + RESPONSE_TIMEOUT);
        }
        self.bounded(context, done)
    }

    /// Limits the time that the client takes to accept data. Flushes call it directly: they succeed without
    /// sending data, and so must not restart the timeout `answered`.
    fn bounded<T>(&mut self, context: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.taken = None;
            return done;
        }
        let taken = self.taken.get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
        taken.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimeoutStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.answered.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimeoutStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.wrote(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.bounded(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.bounded(context, shut)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::net::IpAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::connections::ListenerPlaces;

    fn connection() -> (TimeoutStream<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(64);
        let place = ListenerPlaces::default().take(IpAddr::from([127, 0, 0, 1])).unwrap();
        (TimeoutStream::new(ours, place), theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn silent_and_slow_clients_have_the_same_timeout() {
        let (mut silent, _theirs) = connection();
        let began = Instant::now();
        let ended = silent.read(&mut [0; 8]).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= RESPONSE_TIMEOUT);

        let (mut slow, mut theirs) = connection();
        tokio::spawn(async move {
            while theirs.write_all(b"x").await.is_ok() {
                sleep(RESPONSE_TIMEOUT / 10).await;
            }
        });
        let mut came = 0;
        let ended = loop {
            match slow.read(&mut [0; 8]).await {
                Ok(bytes) => came += bytes,
                Err(error) => break error,
            }
        };
        assert_eq!((ended.kind(), came), (io::ErrorKind::TimedOut, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_taken_gives_time_for_the_next_request() {
        let (mut ours, mut theirs) = connection();
        for _ in 0..4 {
            sleep(RESPONSE_TIMEOUT / 2).await;
            theirs.write_all(b"?").await.unwrap();
            assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 1);
            ours.write_all(b"!").await.unwrap();
            assert_eq!(theirs.read(&mut [0; 8]).await.unwrap(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_reads_nothing_times_out() {
        let (mut ours, _theirs) = connection();
        let ended = ours.write_all(&[1; 1000]).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
