//! Limits on incoming connections, in number and idle time: a client can connect without a token.

mod idle_timeout;
mod places;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tracing::debug;

pub use idle_timeout::TimeoutStream;
pub use places::{ListenerPlace, ListenerPlaces};

const PAUSE: Duration = Duration::from_millis(100);

/// Listener without TLS whose connections are limited.
pub struct Admitted {
    listener: TcpListener,
    places: ListenerPlaces,
}

impl Admitted {
    /// Wraps a listener.
    #[must_use]
    pub fn new(listener: TcpListener) -> Self {
        Self { listener, places: ListenerPlaces::default() }
    }

    pub(crate) async fn next(&self) -> (TcpStream, SocketAddr, ListenerPlace) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => match self.places.take(peer.ip()) {
                    Some(place) => return (stream, peer, place),
                    None => debug!(%peer, "a connection was closed: all places are taken"),
                },
                Err(error) => {
                    debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Listener for Admitted {
    type Io = TimeoutStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, peer, place) = self.next().await;
        (TimeoutStream::new(stream, place), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
