//! The service `bpfman.ext.v1.BpfmanNode`: what a node's agent needs and has no rights to find out by itself.

use bpfman_proto::ext::v1 as wire;
use bpfman_proto::ext::v1::bpfman_node_server::BpfmanNode;
use bpfmand_kernel::Kernel;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::server::Api;
use crate::status;

#[tonic::async_trait]
impl<K: Kernel> BpfmanNode for Api<K> {
    async fn dry_run(
        &self,
        _request: Request<wire::DryRunRequest>,
    ) -> Result<Response<wire::DryRunResponse>, Status> {
        Err(status::unsupported("this daemon does not try loads yet"))
    }

    async fn replace_load(
        &self,
        _request: Request<wire::ReplaceLoadRequest>,
    ) -> Result<Response<wire::ReplaceLoadResponse>, Status> {
        Err(status::unsupported("this daemon does not replace whole loads yet"))
    }

    async fn find_containers(
        &self,
        _request: Request<wire::FindContainersRequest>,
    ) -> Result<Response<wire::FindContainersResponse>, Status> {
        Err(status::unsupported("this daemon does not look for containers yet"))
    }

    type WatchStream = ReceiverStream<Result<wire::WatchEvent, Status>>;

    async fn watch(
        &self,
        _request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(status::unsupported("this daemon does not tell of changes yet"))
    }
}
