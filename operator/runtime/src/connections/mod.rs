//! Connections that others open: how many there may be, and how long one may do nothing.
//!
//! Whoever reaches a listener can open connections, and no token is asked for before a request is read. So each takes a
//! place, one address has some of the places only, and a connection that says or takes nothing ends.

mod places;
mod quiet;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tracing::debug;

pub use places::{ListenerPlace, ListenerPlaces};
pub use quiet::Quiet;

/// After a failure of the system to accept a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections without TLS, each with its place.
pub struct Admitted {
    listener: TcpListener,
    places: ListenerPlaces,
}

impl Admitted {
    /// Of a listener.
    #[must_use]
    pub fn new(listener: TcpListener) -> Self {
        Self { listener, places: ListenerPlaces::default() }
    }

    /// The next connection that has a place; others are closed at once.
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

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Listener for Admitted {
    type Io = Quiet<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, peer, place) = self.next().await;
        (Quiet::new(stream, place), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
