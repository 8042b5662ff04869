//! TLS listener whose certificate may change between connections.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{
    ClientHello, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier,
};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::connections::{Admitted, TimeoutStream};
use crate::serve;

const GREETINGS: usize = 256;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Certificate that is served, with its text.
#[derive(Debug, Default)]
pub struct Served(RwLock<Option<(String, Arc<CertifiedKey>)>>);

/// Error of a certificate or key that cannot be served.
#[derive(Debug, Error)]
pub enum ServeError {
    #[error("the certificate or its key is no PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("the certificate cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

impl Served {
    #[must_use]
    pub fn has_one(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Sets the PEM certificate for new connections, if valid, and returns whether it differs from the previous one.
    pub fn serve(&self, certificate: &str, key: &str) -> Result<bool, ServeError> {
        if self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .is_some_and(|(one, _)| one == certificate)
        {
            return Ok(false);
        }
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?;
        let new = Some((certificate.to_owned(), Arc::new(certified)));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(true)
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, key)| key.clone())
    }
}

/// Connection after its TLS handshake.
pub type HandshakenStream = TimeoutStream<TlsStream<TcpStream>>;

/// Connections after their TLS handshakes. A slow handshake does not delay others.
pub struct TlsListener {
    address: SocketAddr,
    connections: mpsc::Receiver<(HandshakenStream, SocketAddr)>,
}

/// Verifier of client certificates.
pub type Clients = Arc<dyn ClientCertVerifier>;

/// Reason why authorities cannot be loaded from a file.
#[derive(Debug, Error)]
pub enum AuthoritiesError {
    /// The file cannot be read.
    #[error("reading {}: {}", .0.display(), .1)]
    Read(PathBuf, io::Error),
    #[error("a certificate of {}: {}", .0.display(), .1)]
    Pem(PathBuf, rustls::pki_types::pem::Error),
    #[error("a certificate of {}: {}", .0.display(), .1)]
    Certificate(PathBuf, rustls::Error),
    #[error("{} has no certificate of an authority: write them as PEM ({})", .0.display(), .1)]
    None(PathBuf, VerifierBuilderError),
}

/// Returns a verifier that accepts client certificates of the authorities in a file.
pub fn clients(file: &Path) -> Result<Clients, AuthoritiesError> {
    let named = || file.to_owned();
    let text = std::fs::read(file).map_err(|error| AuthoritiesError::Read(named(), error))?;
    let mut authorities = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| AuthoritiesError::Pem(named(), error))?;
        authorities.add(certificate).map_err(|error| AuthoritiesError::Certificate(named(), error))?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider)
        .build()
        .map_err(|error| AuthoritiesError::None(named(), error))
}

/// Reason why the listener cannot start.
#[derive(Debug, Error)]
pub enum TlsListenError {
    /// The address is in use, or does not belong to this machine.
    #[error(transparent)]
    Listen(#[from] io::Error),
    /// TLS cannot be configured.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// Listens. `clients` verifies client certificates; without it, all clients are accepted.
pub async fn listen(
    address: SocketAddr,
    served: Arc<Served>,
    clients: Option<Clients>,
) -> Result<TlsListener, TlsListenError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients.unwrap_or_else(WebPkiClientVerifier::no_client_auth))
        .with_cert_resolver(served);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = serve::listen(address).await?;
    let address = listener.local_addr()?;
    let (out, connections) = mpsc::channel(GREETINGS);
    tokio::spawn(accept(listener, acceptor, out));
    Ok(TlsListener { address, connections })
}

async fn accept(
    listener: Admitted,
    acceptor: TlsAcceptor,
    out: mpsc::Sender<(HandshakenStream, SocketAddr)>,
) {
    let permits = Arc::new(Semaphore::new(GREETINGS));
    // The semaphore is never closed.
    while let Ok(permit) = permits.clone().acquire_owned().await {
        let (stream, peer, place) = listener.next().await;
        let (acceptor, out) = (acceptor.clone(), out.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => drop(out.send((TimeoutStream::new(stream, place), peer)).await),
                Ok(Err(error)) => debug!(%peer, %error, "a connection did not greet"),
                Err(_) => debug!(%peer, "a connection greeted too slowly"),
            }
            drop(permit);
        });
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = HandshakenStream;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::ClientConfig;
    use tokio_rustls::rustls::pki_types::ServerName;

    use super::*;

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
    }

    fn issue(by: &CertifiedIssuer<'static, KeyPair>) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (parameters.signed_by(&key, by).unwrap().pem(), key.serialize_pem())
    }

    async fn is_let_in(address: SocketAddr, server: &str, client: Option<&(String, String)>) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(server.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        let connection = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let Ok(mut stream) = TlsConnector::from(Arc::new(config)).connect(name, connection).await else {
            return false;
        };
        // In TLS 1.3 the rejection arrives after the handshake.
        let mut answer = [0; 1];
        stream.write_all(b"x").await.is_ok() && stream.read_exact(&mut answer).await.is_ok()
    }

    #[tokio::test]
    async fn where_an_authority_is_named_only_its_clients_are_answered() {
        let (ours, others) = (authority(), authority());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clients.pem");
        std::fs::write(&file, "").unwrap();
        assert!(clients(&file).is_err(), "a file without certificates lets nobody in, or everybody");
        std::fs::write(&file, ours.pem()).unwrap();
        let served = Arc::new(Served::default());
        let (certificate, key) = issue(&ours);
        assert!(served.serve(&certificate, &key).unwrap());
        assert!(!served.serve(&certificate, &key).unwrap(), "it is the same");
        assert!(served.serve(&issue(&ours).0, &key).is_err(), "a key of another");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut greeted = listen(any, served, Some(clients(&file).unwrap())).await.unwrap();
        let address = greeted.address;
        tokio::spawn(async move {
            while let Some((mut stream, _)) = greeted.connections.recv().await {
                let mut byte = [0; 1];
                if stream.read_exact(&mut byte).await.is_ok() {
                    let _client_may_be_gone = stream.write_all(&byte).await;
                }
            }
        });
        let server = ours.pem();
        assert!(is_let_in(address, &server, Some(&issue(&ours))).await);
        assert!(!is_let_in(address, &server, Some(&issue(&others))).await);
        assert!(!is_let_in(address, &server, None).await);
    }
}
