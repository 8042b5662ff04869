//! The service `csi.v1.Node`: what a kubelet asks for.

use std::sync::Arc;

use bpfman_proto::csi::v1;
use bpfman_proto::csi::v1::node_server::{Node, NodeServer};
use bpfman_proto::csi::v1::node_service_capability::{Rpc, Type, rpc};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use crate::{CsiError, LARGEST_REQUEST, Maps, Publication, VolumeId, Volumes, request};

/// Publishes volumes of this node.
pub struct NodeService<M: Maps> {
    volumes: Arc<Volumes<M>>,
    node_id: String,
    /// Room for calls: a kubelet with many pods must not take the threads of all others.
    threads: Arc<Semaphore>,
}

/// Most calls that work at the same time.
pub const MOST_THREADS: usize = 4;

impl<M: Maps> NodeService<M> {
    /// A service over volumes, on a node that the cluster calls so.
    #[must_use]
    pub fn serve(volumes: Arc<Volumes<M>>, node_id: String) -> NodeServer<Self> {
        let threads = Arc::new(Semaphore::new(MOST_THREADS));
        NodeServer::new(Self { volumes, node_id, threads }).max_decoding_message_size(LARGEST_REQUEST)
    }

    /// Works on a thread where it may block, and to its end also when the kubelet hangs up.
    async fn run(
        &self,
        call: &'static str,
        work: impl FnOnce(&Volumes<M>) -> Result<(), CsiError> + Send + 'static,
    ) -> Result<(), Status> {
        let ending = |_| Status::unavailable("the daemon is ending");
        let thread = Arc::clone(&self.threads).acquire_owned().await.map_err(ending)?;
        let volumes = Arc::clone(&self.volumes);
        let done = tokio::task::spawn_blocking(move || {
            let _thread = thread;
            work(&volumes)
        });
        match done.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::info!(call, code = ?error.code(), %error, "refused");
                Err(error.into())
            }
            Err(error) => {
                tracing::error!(call, %error, "a request ended in a panic");
                Err(Status::internal("the daemon failed while it worked on this request; its log says more"))
            }
        }
    }
}

#[tonic::async_trait]
impl<M: Maps> Node for NodeService<M> {
    async fn node_publish_volume(
        &self,
        request: Request<v1::NodePublishVolumeRequest>,
    ) -> Result<Response<v1::NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        self.run("NodePublishVolume", move |volumes| {
            let wanted = Publication::parse(&request)?;
            volumes.publish(&wanted)?;
            let maps = wanted.maps.join(",");
            tracing::info!(volume = %wanted.volume, program = wanted.program, namespace = wanted.namespace, maps, read_only = wanted.read_only, group = wanted.group, "published");
            Ok(())
        })
        .await?;
        Ok(Response::new(v1::NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<v1::NodeUnpublishVolumeRequest>,
    ) -> Result<Response<v1::NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        self.run("NodeUnpublishVolume", move |volumes| {
            let volume = VolumeId::parse(&request.volume_id)?;
            volumes.unpublish(&volume, &request::target(&request.target_path)?)?;
            tracing::info!(%volume, "unpublished");
            Ok(())
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
