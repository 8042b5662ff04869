//! TCP server: with TLS, or without on loopback.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::answer::answer;
use super::places::Places;
use super::{PATIENCE, PAUSE, Scrapes, TlsIdentity};

/// Clients allowed by TCP.
#[derive(Debug)]
pub enum TcpReaders {
    /// Every process of this machine: only for loopback addresses.
    Loopback,
    /// TLS clients, with a client certificate if required.
    Tls(Box<TlsIdentity>),
}

/// Serves TCP clients; never returns.
pub async fn serve_tcp(listener: TcpListener, scrapes: Arc<Scrapes>, mut readers: TcpReaders) {
    let places = Arc::<Places<IpAddr>>::default();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no reader of metrics can be taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(place) = places.take(&peer.ip(), false) else {
            tracing::debug!(%peer, "too many connections for metrics");
            continue;
        };
        let acceptor = match &mut readers {
            TcpReaders::Loopback => None,
            TcpReaders::Tls(identity) => Some(identity.acceptor()),
        };
        let scrapes = Arc::clone(&scrapes);
        connections.spawn(async move {
            match acceptor {
                None => answer(stream, scrapes, None).await,
                Some(acceptor) => tls(acceptor, stream, scrapes).await,
            }
            drop(place);
        });
    }
}

async fn tls(acceptor: tokio_rustls::TlsAcceptor, stream: TcpStream, scrapes: Arc<Scrapes>) {
    match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => answer(stream, scrapes, None).await,
        Ok(Err(error)) => tracing::debug!(%error, "a reader of metrics did not greet"),
        Err(_) => tracing::debug!("a reader of metrics greeted too slowly"),
    }
}
