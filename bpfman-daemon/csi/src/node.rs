//! The service `csi.v1.Node`: the kubelet's requests.

use std::sync::Arc;

use bpfman_proto::csi::v1;
use bpfman_proto::csi::v1::node_server::{Node, NodeServer};
use bpfman_proto::csi::v1::node_service_capability::{Rpc, Type, rpc};
use bpfmand_journal::{DaemonPart, EntryFailure, EntryResult, HistoryEntry, Journal};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use crate::{CsiError, MAX_REQUEST, MapSource, Publication, VolumeId, Volumes, request};

/// Service that publishes volumes on this node.
pub struct NodeService<M: MapSource> {
    volumes: Arc<Volumes<M>>,
    node_id: String,
    journal: Arc<Journal>,
    /// Limit of concurrent calls: a kubelet with many pods must not take all threads.
    threads: Arc<Semaphore>,
}

/// Maximum number of concurrent calls.
pub const MAX_THREADS: usize = 4;

impl<M: MapSource> NodeService<M> {
    /// Creates the service; `node_id` is the node's name in the cluster.
    #[must_use]
    pub fn serve(volumes: Arc<Volumes<M>>, node_id: String, journal: Arc<Journal>) -> NodeServer<Self> {
        let threads = Arc::new(Semaphore::new(MAX_THREADS));
        NodeServer::new(Self { volumes, node_id, journal, threads }).max_decoding_message_size(MAX_REQUEST)
    }

    /// Runs a call on a blocking thread, to its end even if the kubelet hangs up, and records an entry.
    async fn run(
        &self,
        call: &'static str,
        object: String,
        work: impl FnOnce(&Volumes<M>) -> Result<String, CsiError> + Send + 'static,
    ) -> Result<(), Status> {
        let ending = |_| Status::unavailable("the daemon is ending");
        let thread = Arc::clone(&self.threads).acquire_owned().await.map_err(ending)?;
        let (volumes, journal) = (Arc::clone(&self.volumes), Arc::clone(&self.journal));
        let done = tokio::task::spawn_blocking(move || {
            let _thread = thread;
            let done = work(&volumes);
            let (told, written) = std::sync::mpsc::channel();
            let tell = move || {
                let _nobody_waits = told.send(());
            };
            journal.record(entry(call, &object, &done), Some(Box::new(tell)));
            // The sender is dropped with the writer, when the daemon ends.
            let _ended = written.recv();
            done
        });
        match done.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Err(error) => {
                tracing::error!(call, %error, "a request ended in a panic");
                Err(Status::internal("the daemon failed while it worked on this request; its log has more"))
            }
        }
    }
}

/// Returns the audit log entry of a call, by the pod of the volume: only the kubelet can open the socket.
fn entry(call: &str, object: &str, done: &Result<String, CsiError>) -> HistoryEntry {
    let mut entry = HistoryEntry::of_daemon(DaemonPart::Csi, call, object);
    match done {
        Ok(made) => entry.made.clone_from(made),
        Err(error) => {
            let code = error.code();
            let failure = |reason: &str| EntryFailure {
                code: format!("{code:?}"),
                reason: reason.to_owned(),
                message: error.to_string(),
            };
            entry.result = match code {
                tonic::Code::PermissionDenied => EntryResult::Denied(failure("denied")),
                tonic::Code::Internal | tonic::Code::Unavailable => EntryResult::Failed(failure("internal")),
                tonic::Code::NotFound => EntryResult::Refused(failure("not-found")),
                _ => EntryResult::Refused(failure("invalid")),
            };
        }
    }
    entry
}

#[tonic::async_trait]
impl<M: MapSource> Node for NodeService<M> {
    async fn node_publish_volume(
        &self,
        request: Request<v1::NodePublishVolumeRequest>,
    ) -> Result<Response<v1::NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let object = format!("volume {} at {}", request.volume_id, request.target_path);
        self.run("NodePublishVolume", object, move |volumes| {
            let wanted = Publication::parse(&request)?;
            volumes.publish(&wanted)?;
            Ok(wanted.to_string())
        })
        .await?;
        Ok(Response::new(v1::NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<v1::NodeUnpublishVolumeRequest>,
    ) -> Result<Response<v1::NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let object = format!("volume {} at {}", request.volume_id, request.target_path);
        self.run("NodeUnpublishVolume", object, move |volumes| {
            let volume = VolumeId::parse(&request.volume_id)?;
            volumes.unpublish(&volume, &request::target(&request.target_path)?)?;
            Ok(String::new())
        })
        .await?;
        Ok(Response::new(v1::NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_capabilities(
        &self,
        _request: Request<v1::NodeGetCapabilitiesRequest>,
    ) -> Result<Response<v1::NodeGetCapabilitiesResponse>, Status> {
        let group = Rpc { r#type: rpc::Type::VolumeMountGroup.into() };
        let capabilities = vec![v1::NodeServiceCapability { r#type: Some(Type::Rpc(group)) }];
        Ok(Response::new(v1::NodeGetCapabilitiesResponse { capabilities }))
    }

    async fn node_get_info(
        &self,
        _request: Request<v1::NodeGetInfoRequest>,
    ) -> Result<Response<v1::NodeGetInfoResponse>, Status> {
        let node_id = self.node_id.clone();
        Ok(Response::new(v1::NodeGetInfoResponse { node_id, max_volumes_per_node: 0 }))
    }
}
