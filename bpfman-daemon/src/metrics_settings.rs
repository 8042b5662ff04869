//! The table `[metrics]` of `bpfman.toml`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bpfmand_observe::serve::{StartTls, TcpReaders, TlsFiles, TlsIdentity};
use serde::Deserialize;

use crate::workers::WorkerProcesses;

/// Default file name, next to the clients' socket.
const SOCKET: &str = "metrics.sock";

/// The table as written. Unknown keys are errors: with a misspelt one, metrics would be served without TLS.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsTable {
    socket: Option<PathBuf>,
    listen: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    run_statistics: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Path of the unix socket, and whether the configuration names it; `None` if disabled.
    pub socket: Option<(PathBuf, bool)>,
    /// Address, with the files of its certificate; without these it must be a loopback address.
    pub listen: Option<(SocketAddr, Option<TlsFiles>)>,
    pub run_statistics: bool,
}

impl MetricsTable {
    pub fn settings(self, clients: &Path) -> anyhow::Result<MetricsSettings> {
        let socket = match self.socket {
            None => Some((clients.with_file_name(SOCKET), false)),
            Some(path) if path.as_os_str().is_empty() => None,
            Some(path) if path.is_absolute() => Some((path, true)),
            Some(path) => {
                bail!("configuration: metrics.socket \"{}\" is not an absolute path", path.display())
            }
        };
        if socket.as_ref().is_some_and(|(path, _)| path == clients) {
            bail!("configuration: metrics.socket is the socket that clients connect to");
        }
        let files = match (self.certificate, self.key, self.client_ca) {
            (None, None, None) => None,
            (Some(certificate), Some(key), client_ca) => Some(TlsFiles { certificate, key, client_ca }),
            (Some(_), None, _) => bail!("configuration: metrics.certificate needs metrics.key"),
            (None, Some(_), _) => bail!("configuration: metrics.key needs metrics.certificate"),
            (None, None, Some(_)) => {
                bail!("configuration: metrics.client_ca needs metrics.certificate and metrics.key")
            }
        };
        let listen = self.listen.map(|text| listen_address(&text)).transpose()?;
        let listen = match (listen, files) {
            (None, Some(_)) => bail!("configuration: metrics.certificate needs metrics.listen"),
            (Some(address), None) if !address.ip().is_loopback() => bail!(
                "configuration: metrics.listen {address} can be reached from outside this machine: name \
                 metrics.certificate and metrics.key, or an address of loopback"
            ),
            (listen, files) => listen.map(|address| (address, files)),
        };
        Ok(MetricsSettings { socket, listen, run_statistics: self.run_statistics })
    }
}

fn listen_address(text: &str) -> anyhow::Result<SocketAddr> {
    text.parse().ok().filter(|address: &SocketAddr| address.port() != 0).with_context(|| {
        format!(
            "configuration: metrics.listen \"{text}\" is no address to listen on: write ADDRESS:PORT, such as \
             127.0.0.1:9464 or [::]:9464"
        )
    })
}

/// TCP listener, with the files of its certificate.
pub struct MetricsListener {
    listener: std::net::TcpListener,
    files: Option<TlsFiles>,
}

impl MetricsSettings {
    /// Opens the TCP listener, if there is one.
    pub fn open(&self) -> anyhow::Result<Option<MetricsListener>> {
        let Some((address, files)) = &self.listen else { return Ok(None) };
        let listener = std::net::TcpListener::bind(address)
            .with_context(|| format!("configuration: metrics.listen: cannot listen on {address}"))?;
        listener.set_nonblocking(true)?;
        Ok(Some(MetricsListener { listener, files: files.clone() }))
    }
}

impl MetricsListener {
    /// Reads the certificate, which a worker checks.
    pub fn ready(
        self,
        workers: &Arc<WorkerProcesses>,
    ) -> anyhow::Result<(std::net::TcpListener, TcpReaders)> {
        let readers = match self.files {
            None => TcpReaders::Loopback,
            Some(files) => {
                let identity = TlsIdentity::read(files, Arc::clone(workers) as Arc<dyn StartTls>);
                TcpReaders::Tls(Box::new(identity.context("configuration: metrics")?))
            }
        };
        Ok((self.listener, readers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> anyhow::Result<MetricsSettings> {
        let table: MetricsTable = toml::from_str(text).map_err(anyhow::Error::from)?;
        table.settings(Path::new("/run/bpfman-sock/bpfman.sock"))
    }

    #[test]
    fn a_socket_beside_the_other_is_all_by_default() {
        let default = settings("").unwrap();
        assert_eq!(default.socket, Some((PathBuf::from("/run/bpfman-sock/metrics.sock"), false)));
        assert_eq!((default.listen, default.run_statistics), (None, false));
        assert_eq!(settings("socket = \"\"").unwrap().socket, None);
        assert_eq!(settings("socket = \"/m\"").unwrap().socket, Some((PathBuf::from("/m"), true)));
        assert!(settings("run_statistics = true").unwrap().run_statistics);
    }

    #[test]
    fn listening_beyond_loopback_requires_tls() {
        let tls = "certificate = \"/c\"\nkey = \"/k\"\n";
        for (text, says) in [
            ("listen = \"0.0.0.0:9464\"", "metrics.certificate"),
            ("listen = \"[::]:9464\"", "metrics.certificate"),
            ("listen = \"192.0.2.1:9464\"", "metrics.certificate"),
            ("listen = \"localhost:9464\"", "ADDRESS:PORT"),
            ("listen = \"127.0.0.1:0\"", "ADDRESS:PORT"),
            ("listen = \"127.0.0.1:9464\"\ncertificate = \"/c\"", "needs metrics.key"),
            ("listen = \"127.0.0.1:9464\"\nkey = \"/k\"", "needs metrics.certificate"),
            ("listen = \"127.0.0.1:9464\"\nclient_ca = \"/a\"", "metrics.client_ca needs"),
            (tls, "needs metrics.listen"),
            ("socket = \"m.sock\"", "absolute"),
            ("socket = \"/run/bpfman-sock/bpfman.sock\"", "clients connect to"),
            ("certifcate = \"/c\"", "certifcate"),
        ] {
            let error = format!("{:#}", settings(text).unwrap_err());
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(settings("listen = \"127.0.0.1:9464\"").unwrap().listen.unwrap().1.is_none());
        assert!(settings(&format!("listen = \"0.0.0.0:9464\"\n{tls}")).unwrap().listen.unwrap().1.is_some());
    }
}
