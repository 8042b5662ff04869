//! Registration with the kubelet, instead of a sidecar: a socket in its plugin folder that returns type and endpoint.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bpfman_proto::pluginregistration as wire;
use bpfman_proto::pluginregistration::registration_server::{Registration, RegistrationServer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::{DRIVER, MAX_REQUEST, connections};

/// Interval of checks that the socket exists: a restarted kubelet may empty its folder.
const LOOK: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(1);

/// Registration data.
#[derive(Clone, Debug)]
pub struct Registrar {
    /// Plugin folder of the kubelet, as this process sees it.
    pub folder: PathBuf,
    /// CSI socket, as the kubelet sees it.
    pub endpoint: String,
}

impl Registrar {
    fn socket(&self) -> PathBuf {
        self.folder.join(format!("{DRIVER}-reg.sock"))
    }
}

#[tonic::async_trait]
impl Registration for Registrar {
    async fn get_info(
        &self,
        _request: Request<wire::InfoRequest>,
    ) -> Result<Response<wire::PluginInfo>, Status> {
        Ok(Response::new(wire::PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: DRIVER.to_owned(),
            endpoint: self.endpoint.clone(),
            supported_versions: vec!["1.0.0".to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<wire::RegistrationStatus>,
    ) -> Result<Response<wire::RegistrationStatusResponse>, Status> {
        let wire::RegistrationStatus { plugin_registered, error } = request.into_inner();
        if plugin_registered {
            tracing::info!(driver = DRIVER, "the kubelet registered the CSI driver");
        } else {
            tracing::error!(
                %error,
                endpoint = self.endpoint,
                "the kubelet did not register the CSI driver: has it the socket at this path?"
            );
        }
        Ok(Response::new(wire::RegistrationStatusResponse {}))
    }
}

#[derive(Debug, thiserror::Error)]
enum RegistrationError {
    #[error("{} is another process's: end that registrar, or leave --csi-registration-dir away", .0.display())]
    Taken(PathBuf),
    #[error("{}: {source}", path.display())]
    Socket { path: PathBuf, source: io::Error },
}

struct Served {
    inode: u64,
    _stop: oneshot::Sender<()>,
    _task: JoinHandle<()>,
}

/// Serves the socket until `end` changes, recreates it when it disappears, and removes it at the end.
pub async fn keep_registered(registrar: Registrar, mut end: watch::Receiver<bool>) {
    let mut served: Option<Served> = None;
    let mut told = String::new();
    loop {
        let is_there = served.as_ref().is_some_and(|served| inode(&registrar.socket()) == Some(served.inode));
        if !is_there {
            match make(&registrar).await {
                Ok(new) => {
                    tracing::info!(socket = %registrar.socket().display(), "waiting for the kubelet");
                    served = Some(new);
                    told.clear();
                }
                // Log once: the folder appears with the kubelet.
                Err(error) => {
                    let reason = error.to_string();
                    if reason != told {
                        tracing::warn!(reason, "the CSI driver cannot be registered yet");
                        told = reason;
                    }
                }
            }
        }
        tokio::select! {
            _changed = end.changed() => break,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    if let Some(served) = served
        && inode(&registrar.socket()) == Some(served.inode)
        && let Err(error) = fs::remove_file(registrar.socket())
    {
        tracing::warn!(%error, "the registration socket stays behind");
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|found| found.ino())
}

/// Creates the socket under a hidden name, which the kubelet ignores, and renames it when it is served.
async fn make(registrar: &Registrar) -> Result<Served, RegistrationError> {
    let socket = registrar.socket();
    if inode(&socket).is_some() {
        let connected = tokio::time::timeout(ANSWER, UnixStream::connect(&socket)).await;
        if !matches!(connected, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused) {
            return Err(RegistrationError::Taken(socket));
        }
    }
    let fresh = registrar.folder.join(format!(".{DRIVER}"));
    let failed = |source| RegistrationError::Socket { path: socket.clone(), source };
    let make = || -> io::Result<UnixListener> {
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = StdListener::bind(&fresh)?;
        listener.set_nonblocking(true)?;
        fs::rename(&fresh, &socket)?;
        UnixListener::from_std(listener)
    };
    let listener = make().map_err(failed)?;
    let inode = inode(&socket).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    let (stop, stopped) = oneshot::channel::<()>();
    let service = RegistrationServer::new(registrar.clone()).max_decoding_message_size(MAX_REQUEST);
    let task = tokio::spawn(async move {
        let server = Server::builder().add_service(service);
        let end = async {
            let _dropped = stopped.await;
        };
        if let Err(error) = server.serve_with_incoming_shutdown(connections(listener), end).await {
            tracing::warn!(%error, "the registration socket is served no more");
        }
    });
    Ok(Served { inode, _stop: stop, _task: task })
}
