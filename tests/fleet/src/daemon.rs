//! Daemon of a simulated node: the real engine and the real services over a simulated kernel.
//!
//! It has no threads of its own: requests run on those of the process. Only the stream of changes ([`crate::stream`])
//! is not the daemon's code, because the daemon uses a thread for each client.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use bpfman_apply::daemon::Daemon;
use bpfman_model::{NetnsId, Peer};
use bpfman_proto::ext::v1::bpfman_chains_server::BpfmanChainsServer;
use bpfman_proto::ext::v1::bpfman_ext_server::BpfmanExtServer;
use bpfman_proto::ext::v1::bpfman_node_server::BpfmanNodeServer;
use bpfman_proto::v1::bpfman_server::BpfmanServer;
use bpfmand_api::{Api, FixedPeerLayer, Paths};
use bpfmand_engine::{Engine, EngineOptions, NoImages, SCHEMA, SourceRecord};
use bpfmand_kernel::Features;
use bpfmand_kernel::sim::{LoadsSeen, SimKernel, SimOptions};
use bpfmand_store::{Store, StoreOptions};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::{Endpoint, Server};

use crate::stream::NodeService;
use crate::version::{self, Version};

pub const INTERFACE: &str = "eth0";

pub struct SimDaemon {
    kernel: Arc<SimKernel>,
    engine: Arc<Engine<SimKernel>>,
    connections: mpsc::Sender<std::io::Result<UnixStream>>,
}

impl SimDaemon {
    pub fn start(folder: &Path, release: &str, minor: u32) -> Result<Self, anyhow::Error> {
        let options = SimOptions::default();
        let features =
            Features { release: release.to_owned(), version: (6, minor), ..options.features.clone() };
        // The engine reads its namespace from the real system.
        let inode = std::fs::metadata("/proc/self/ns/net")?.ino();
        let own_namespace = NetnsId { inode, cookie: 1 };
        let kernel = Arc::new(SimKernel::new(SimOptions { features, own_namespace, ..options }));
        kernel.add_interface(None, INTERFACE);
        kernel.switch_interface(None, INTERFACE, true);
        for version in version::ALL {
            kernel.judge_constant(version.constant(), false);
        }
        let store = Store::open(StoreOptions::new(folder.join("store"), SCHEMA))?;
        let engine = Engine::open(Arc::clone(&kernel), EngineOptions::new(folder.join("bytecode"), store))?;
        engine.recover()?;
        let engine = Arc::new(engine);
        let paths = Paths { fs: folder.join("fs"), runtime: folder.to_owned(), state: folder.to_owned() };
        let api = Api::new(Arc::clone(&engine), Arc::new(NoImages), paths);
        let routes = Routes::new(BpfmanServer::new(api.clone()))
            .add_service(BpfmanExtServer::new(api.clone()))
            .add_service(BpfmanChainsServer::new(api.clone()))
            .add_service(BpfmanNodeServer::new(NodeService { api, engine: Arc::clone(&engine) }));
        let (connections, incoming) = mpsc::channel(4);
        // Agents are clients with root's rights here.
        let server = Server::builder().layer(FixedPeerLayer(Peer::default())).add_routes(routes);
        tokio::spawn(server.serve_with_incoming(ReceiverStream::new(incoming)));
        Ok(Self { kernel, engine, connections })
    }

    #[must_use]
    pub fn connect(&self) -> Daemon {
        let connections = self.connections.clone();
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(
            tower::service_fn(move |_| {
                let connections = connections.clone();
                async move {
                    let (ours, theirs) = UnixStream::pair()?;
                    connections.send(Ok(theirs)).await.map_err(std::io::Error::other)?;
                    Ok::<_, std::io::Error>(TokioIo::new(ours))
                }
            }),
        );
        Daemon::over(channel)
    }

    pub fn refuse(&self, version: Version, refused: bool) {
        self.kernel.judge_constant(version.constant(), refused);
    }

    /// Returns the results of all loads of a version, including dry runs.
    #[must_use]
    pub fn loads(&self, version: Version) -> LoadsSeen {
        self.kernel.loads_with(version.constant())
    }

    /// Returns the kernel ids of the attached programs, which change with every reload.
    #[must_use]
    pub fn running(&self) -> Vec<u32> {
        self.kernel.snapshot().links.values().map(|link| link.program.0).collect()
    }

    #[must_use]
    pub fn loaded(&self) -> Vec<u32> {
        let managed = bpfman_model::Selector { managed_only: true, ..Default::default() };
        self.engine.list(&managed).unwrap_or_default().iter().map(|program| program.id.0).collect()
    }

    #[must_use]
    pub fn runs(&self, version: Version) -> bool {
        let managed = bpfman_model::Selector { managed_only: true, ..Default::default() };
        let programs = self.engine.list(&managed).unwrap_or_default();
        programs.iter().any(|program| match program.managed.as_ref().map(|managed| &managed.record.source) {
            Some(SourceRecord::File { path }) => Path::new(path).ends_with(version.file_name()),
            _ => false,
        })
    }
}
