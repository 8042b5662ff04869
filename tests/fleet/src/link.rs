//! Line between an agent and the API server, which can be cut.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tower::Service;

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub enum Line {
    #[default]
    Whole,
    /// Connections break, and new ones are refused.
    Refused,
    /// No data arrives, and no connection breaks.
    Silent,
}

#[derive(Clone, Debug)]
pub struct Link(watch::Sender<Line>);

impl Default for Link {
    fn default() -> Self {
        Self(watch::Sender::new(Line::Whole))
    }
}

impl Link {
    pub fn set(&self, line: Line) {
        self.0.send_replace(line);
    }
}

/// Connector that connects to one address, whatever host the request names.
#[derive(Clone, Debug)]
pub struct Connector {
    pub address: SocketAddr,
    pub link: Link,
}

impl<Uri> Service<Uri> for Connector {
    type Response = TokioIo<OverLink>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { address, link } = self.clone();
        Box::pin(async move {
            let mut line = link.0.subscribe();
            // The sender lives as long as this connector, so that the wait cannot fail.
            let now = *line.wait_for(|line| *line != Line::Silent).await.map_err(io::Error::other)?;
            if now == Line::Refused {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(OverLink { stream, now: Line::Whole, change: changed(line) }))
        })
    }
}

type Change = Pin<Box<dyn Future<Output = (Line, watch::Receiver<Line>)> + Send>>;

fn changed(mut line: watch::Receiver<Line>) -> Change {
    Box::pin(async move {
        if line.changed().await.is_err() {
            return std::future::pending().await;
        }
        let now = *line.borrow_and_update();
        (now, line)
    })
}

pub struct OverLink {
    stream: TcpStream,
    now: Line,
    change: Change,
}

impl OverLink {
    /// Returns ready if data may pass or the connection broke; otherwise the task is woken at the next change.
    fn passes(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Poll::Ready((now, line)) = self.change.as_mut().poll(context) {
            // A broken connection stays broken.
            if self.now != Line::Refused {
                self.now = now;
            }
            self.change = changed(line);
        }
        match self.now {
            Line::Whole => Poll::Ready(Ok(())),
            Line::Refused => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Line::Silent => Poll::Pending,
        }
    }
}

impl AsyncRead for OverLink {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.passes(context)? {
            Poll::Ready(()) => Pin::new(&mut self.stream).poll_read(context, buffer),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for OverLink {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.passes(context)? {
            Poll::Ready(()) => Pin::new(&mut self.stream).poll_write(context, buffer),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connection for OverLink {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
