//! TCP server: with TLS, or without on loopback.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use bpfmand_frames::tls::{TlsFault, TlsPem};
use bpfmand_frames::{SMALL, WorkerConnection, wrong};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;

use super::answer::answer;
use super::places::Places;
use super::{PAUSE, REQUEST_TIMEOUT, Scrapes, StartTls, TlsIdentity};

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
        let tls = match &mut readers {
            TcpReaders::Loopback => None,
            TcpReaders::Tls(identity) => {
                if identity.is_due() {
                    identity_of_now(identity).await;
                }
                Some((identity.pem(), Arc::clone(&identity.workers)))
            }
        };
        let scrapes = Arc::clone(&scrapes);
        connections.spawn(async move {
            match tls {
                None => answer(stream, scrapes, None).await,
                Some((pem, workers)) => answer_by_tls(&pem, &*workers, stream, scrapes).await,
            }
            drop(place);
        });
    }
}

/// Looks at the files of the certificate, on a thread that may wait for a worker.
async fn identity_of_now(identity: &mut Box<TlsIdentity>) {
    let mut looking = identity.clone();
    let looked = tokio::task::spawn_blocking(move || {
        looking.look();
        looking
    });
    match looked.await {
        Ok(looked) => *identity = looked,
        Err(error) => tracing::warn!(%error, "the certificate for metrics was not looked at"),
    }
}

/// Answers through a worker, which speaks TLS with the client.
async fn answer_by_tls(pem: &TlsPem, workers: &dyn StartTls, client: TcpStream, scrapes: Arc<Scrapes>) {
    // A connection that sends nothing costs no process.
    if tokio::time::timeout(REQUEST_TIMEOUT, client.readable()).await.is_err() {
        return;
    }
    match tokio::time::timeout(REQUEST_TIMEOUT, begin_tls(pem, workers, client)).await {
        Ok(Ok((mut stream, _life))) => {
            answer(&mut stream, scrapes, None).await;
            // The worker ends when it has passed everything on; until then `_life` keeps it.
            let _gone = stream.shutdown().await;
            let _ended =
                tokio::time::timeout(REQUEST_TIMEOUT, tokio::io::copy(&mut stream, &mut tokio::io::sink()))
                    .await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "no worker speaks TLS with a reader of metrics"),
        Err(_) => tracing::debug!("a worker for TLS started too slowly"),
    }
}

async fn begin_tls(
    pem: &TlsPem,
    workers: &dyn StartTls,
    client: TcpStream,
) -> io::Result<(UnixStream, Option<OwnedFd>)> {
    let client = client.into_std()?;
    // The worker reads and writes in blocking mode.
    client.set_nonblocking(false)?;
    let mut connection = WorkerConnection::new(workers.start_tls(Some(client.as_fd()))?)?;
    drop(client);
    connection.say(pem).await?;
    let accepted: Result<(), TlsFault> = connection.hear(SMALL).await?;
    accepted.map_err(|fault| wrong(format!("the certificate is refused: {fault:?}")))?;
    Ok(connection.into_parts())
}
