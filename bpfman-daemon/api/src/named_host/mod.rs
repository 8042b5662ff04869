//! Clients that call a unix socket by its path.
//!
//! Clients that build on gRPC's C core (Python, C++, Ruby, PHP) and those in Java and Swift put the socket's path into
//! HTTP/2's `:authority`, plain or percent-encoded. That is no valid host name, so the server's library ends such
//! requests with `PROTOCOL_ERROR` before any handler runs. On a unix socket the name has no meaning: it is replaced in
//! place by another one of the same length. All other bytes stay as they are.

mod fields;
mod frames;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use self::frames::HttpFrames;

#[derive(Debug)]
pub struct NamedHost<S> {
    inner: S,
    frames: HttpFrames,
}

impl<S> NamedHost<S> {
    pub fn new(inner: S) -> Self {
        Self { inner, frames: HttpFrames::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for NamedHost<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if let Some(new) = buffer.filled_mut().get_mut(before..) {
            self.frames.pass(new);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for NamedHost<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<S: Connected> Connected for NamedHost<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info()
    }
}
