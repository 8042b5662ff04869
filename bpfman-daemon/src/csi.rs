//! The CSI node plugin on its own socket, and its registration with the kubelet.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bpfmand_csi::{
    IdentityService, NodeService, Registrar, UnseenVolumes, Volumes, connections, keep_registered,
};
use bpfmand_engine::{Engine, StepObserver};
use bpfmand_journal::Journal;
use bpfmand_kernel::Mounts as _;
use bpfmand_kernel::linux::{LinuxKernel, LinuxMounts};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Server;

use crate::csi_settings::CsiSettings;
use crate::socket;

pub struct Csi {
    settings: CsiSettings,
    engine: Arc<Engine<LinuxKernel>>,
    volumes: Arc<Volumes<Engine<LinuxKernel>>>,
    journal: Arc<Journal>,
}

impl Csi {
    pub fn open(
        settings: &CsiSettings,
        engine: &Arc<Engine<LinuxKernel>>,
        observer: Arc<dyn StepObserver>,
        journal: Arc<Journal>,
    ) -> anyhow::Result<Self> {
        let volumes = Volumes::open(&settings.volumes, Arc::clone(engine), Arc::new(LinuxMounts))?;
        let recovered = volumes.recover().context("cannot look for volumes of an earlier daemon")?;
        for problem in &recovered.problems {
            tracing::warn!("not mended: {problem}");
        }
        tracing::info!(kept = recovered.kept, removed = recovered.removed, "volumes of pods");
        let first = LinuxMounts.table_of_the_first_process().ok();
        if let Some(unseen) = UnseenVolumes::of(&settings.pods(), &LinuxMounts.table()?, first.as_deref()) {
            tracing::warn!("{unseen}");
        }
        let volumes = Arc::new(volumes.with_observer(observer).with_unexported(settings.unexported));
        Ok(Self { settings: settings.clone(), engine: Arc::clone(engine), volumes, journal })
    }

    pub fn serve(self) -> anyhow::Result<ServedCsi> {
        // Root only: the kubelet is the sole client, and users of the daemon have no access.
        let listener = UnixListener::from_std(socket::make(&self.settings.socket, None)?)?;
        let (end, ended) = watch::channel(false);
        let routes = Server::builder()
            // Bound memory even though only kubelets connect.
            .max_concurrent_streams(32)
            .initial_stream_window_size(64 << 10)
            .initial_connection_window_size(128 << 10)
            .add_service(IdentityService::serve(self.engine))
            .add_service(NodeService::serve(self.volumes, self.settings.node_id.clone(), self.journal));
        let mut told = ended.clone();
        let server = tokio::spawn(async move {
            let end = async move {
                let _told = told.changed().await;
            };
            if let Err(error) = routes.serve_with_incoming_shutdown(connections(listener), end).await {
                tracing::error!(%error, "the CSI driver is served no more");
            }
        });
        let registration = self.settings.registration.map(|folder| {
            let endpoint = self.settings.kubelet_socket.display().to_string();
            tokio::spawn(keep_registered(Registrar { folder, endpoint }, ended))
        });
        tracing::info!(socket = %self.settings.socket.display(), node = self.settings.node_id, "serving the CSI driver");
        Ok(ServedCsi {
            end,
            tasks: std::iter::once(server).chain(registration).collect(),
            socket: self.settings.socket,
        })
    }
}

pub struct ServedCsi {
    end: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    socket: PathBuf,
}

impl ServedCsi {
    /// Stops serving within `grace`. Volumes stay mounted, since pods use them.
    pub async fn end(self, grace: Duration) {
        let _nobody_listens = self.end.send(true);
        let all = async {
            for task in self.tasks {
                let _panicked = task.await;
            }
        };
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::debug!("a kubelet keeps its connection to the CSI driver open");
        }
        if let Err(error) = std::fs::remove_file(&self.socket) {
            tracing::warn!(%error, "the socket of the CSI driver stays behind");
        }
    }
}
