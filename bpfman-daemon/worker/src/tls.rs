//! TLS for clients of the daemon's metrics: the process decrypts, and passes the plain connection to the daemon.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use bpfmand_frames::Answering;
use bpfmand_frames::tls::{TlsFault, TlsPem};
use rustix::event::{PollFd, PollFlags, poll};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, ServerConnection};

/// Size of the buffer between both connections, in bytes: below rustls' own limit, so that it takes each piece whole.
const PIECE: usize = 16 << 10;

/// Starts the library's generator of random numbers, which looks for a device that the sandbox does not permit.
pub fn prepare_tls() -> io::Result<()> {
    let filled = aws_lc_rs::default_provider().secure_random.fill(&mut [0]);
    filled.map_err(|error| io::Error::other(format!("{error:?}")))
}

/// Serves one client with the identity that the daemon sends first. Without a client, only checks the identity. The daemon
/// ends the process if the client is too slow. Fails if the daemon violates the protocol, or a connection breaks.
pub fn serve_tls(daemon: UnixStream, client: Option<TcpStream>) -> io::Result<()> {
    let mut served = Answering::new(daemon.try_clone()?);
    let Some(pem) = served.question::<TlsPem>()? else { return Ok(()) };
    let config = match server_config(&pem) {
        Ok(config) => config,
        Err(fault) => return served.say(&Err::<(), _>(fault)),
    };
    served.say(&Ok::<(), TlsFault>(()))?;
    let Some(client) = client else { return Ok(()) };
    let connection = ServerConnection::new(Arc::new(config)).map_err(io::Error::other)?;
    pass(connection, &daemon, &client)
}

fn pass(mut tls: ServerConnection, mut daemon: &UnixStream, mut client: &TcpStream) -> io::Result<()> {
    let (mut buffer, mut client_ended) = ([0; PIECE], false);
    loop {
        while tls.wants_write() {
            tls.write_tls(&mut client)?;
        }
        // A client that has sent its request and nothing more still gets the answer.
        let mut ready = [PollFd::new(daemon, PollFlags::IN), PollFd::new(client, PollFlags::IN)];
        poll(if client_ended { &mut ready[..1] } else { &mut ready[..] }, None)?;
        let [of_daemon, of_client] = ready.map(|one| !one.revents().is_empty());
        if of_client {
            if tls.read_tls(&mut client)? == 0 {
                if tls.is_handshaking() {
                    return Ok(());
                }
                client_ended = true;
                continue;
            }
            let state = match tls.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    // Send the client the reason, if the protocol has one for it.
                    let _gone = tls.write_tls(&mut client);
                    return Err(io::Error::other(error));
                }
            };
            let mut rest = state.plaintext_bytes_to_read();
            while rest > 0 {
                let piece = rest.min(PIECE);
                tls.reader().read_exact(&mut buffer[..piece])?;
                daemon.write_all(&buffer[..piece])?;
                rest -= piece;
            }
        }
        if of_daemon {
            let length = daemon.read(&mut buffer)?;
            if length == 0 || tls.is_handshaking() {
                tls.send_close_notify();
                while tls.wants_write() {
                    tls.write_tls(&mut client)?;
                }
                return Ok(());
            }
            tls.writer().write_all(&buffer[..length])?;
        }
    }
}

fn server_config(pem: &TlsPem) -> Result<ServerConfig, TlsFault> {
    let chain = certificates(&pem.certificate).map_err(TlsFault::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).map_err(|error| {
        TlsFault::Key(match error {
            PemError::NoItemsFound => "has no private key in PEM format".to_owned(),
            error => not_pem(&error),
        })
    })?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let clients = match &pem.client_ca {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(text) => {
            let mut authorities = RootCertStore::empty();
            for certificate in certificates(text).map_err(TlsFault::ClientCa)? {
                authorities
                    .add(certificate)
                    .map_err(|error| TlsFault::ClientCa(format!("names no authorities: {error}")))?;
            }
            WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(&provider))
                .build()
                .map_err(|error| TlsFault::ClientCa(format!("names no authorities: {error}")))?
        }
    };
    let pair = |error: tokio_rustls::rustls::Error| TlsFault::Pair(error.to_string());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn not_pem(error: &PemError) -> String {
    format!("is no PEM: {error}")
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.map_err(|error| not_pem(&error))?;
    if found.is_empty() {
        return Err("has no certificate in PEM format".to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn parts_that_cannot_be_used_are_named() {
        let ((certificate, key), (_, other)) = (pair(), pair());
        let fault = |certificate: &str, key: &str, client_ca: Option<&str>| {
            let client_ca = client_ca.map(str::to_owned);
            server_config(&TlsPem { certificate: certificate.to_owned(), key: key.to_owned(), client_ca })
                .err()
        };
        assert_eq!(fault(&certificate, &key, None), None);
        assert_eq!(fault(&certificate, &key, Some(&certificate)), None);
        assert!(matches!(fault("", &key, None), Some(TlsFault::Certificate(_))));
        assert!(matches!(
            fault(&certificate.replacen('M', "*", 3), &key, None),
            Some(TlsFault::Certificate(_))
        ));
        assert!(matches!(fault(&certificate, "", None), Some(TlsFault::Key(_))));
        assert!(matches!(fault(&certificate, &other, None), Some(TlsFault::Pair(_))));
        assert!(matches!(fault(&certificate, &key, Some("")), Some(TlsFault::ClientCa(_))));
    }
}
