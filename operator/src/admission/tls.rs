//! Connections over TLS, with a certificate that may change between two of them.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::certificates::Generation;

/// Greetings at a time, and how long one may take.
const GREETINGS: usize = 256;
const PATIENCE: Duration = Duration::from_secs(5);

/// After a failure of the system to accept a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// The certificate that is served.
#[derive(Debug, Default)]
pub struct Served(RwLock<Option<(u64, Arc<CertifiedKey>)>>);

/// What is stored is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Not even PEM.
    #[error("the stored certificate: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// Not one that can be used.
    #[error("the stored certificate: {0}")]
    Tls(#[from] rustls::Error),
}

impl Served {
    /// Whether there is one.
    #[must_use]
    pub fn has_one(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// From the next connection on.
    ///
    /// # Errors
    /// It is no certificate; the one before is served on.
    pub fn serve(&self, generation: &Generation) -> Result<(), ServeError> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(one, _)| *one);
        if current == Some(generation.created) {
            return Ok(());
        }
        let chain = CertificateDer::pem_slice_iter(generation.certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(generation.key.as_bytes())?;
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?;
        let new = Some((generation.created, Arc::new(certified)));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, key)| key.clone())
    }
}

/// Connections that have greeted. A slow greeting holds up no other.
pub struct Greeted {
    address: SocketAddr,
    connections: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

/// Listens.
///
/// # Errors
/// The address is taken, or TLS cannot be set up.
pub async fn listen(address: SocketAddr, served: Arc<Served>) -> anyhow::Result<Greeted> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(served);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let (out, connections) = mpsc::channel(GREETINGS);
    tokio::spawn(accept(listener, acceptor, out));
    Ok(Greeted { address, connections })
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    out: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let permits = Arc::new(Semaphore::new(GREETINGS));
    // The semaphore is never closed.
    while let Ok(permit) = permits.clone().acquire_owned().await {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(%error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (acceptor, out) = (acceptor.clone(), out.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => drop(out.send((stream, peer)).await),
                Ok(Err(error)) => debug!(%peer, %error, "a connection did not greet"),
                Err(_) => debug!(%peer, "a connection greeted too slowly"),
            }
            drop(permit);
        });
    }
}

impl axum::serve::Listener for Greeted {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(connection) => connection,
            // The sender lives as long as the runtime.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(self.address)
    }
}
