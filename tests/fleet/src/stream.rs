//! Service of a node, with a stream of changes that needs no thread.
//!
//! The daemon queries the kernel for the interfaces of its machine on a thread for each stream. A simulated node has
//! one interface, which stays; its stream reports it once, and the engine's changes as the daemon's does.

use std::sync::Arc;
use std::time::Duration;

use bpfman_proto::ext::v1 as wire;
use bpfman_proto::ext::v1::bpfman_node_server::BpfmanNode;
use bpfman_proto::ext::v1::watch_event::Event;
use bpfmand_api::Api;
use bpfmand_engine::{ChangeListener, Engine};
use bpfmand_kernel::sim::SimKernel;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::daemon::INTERFACE;

const SPACING: Duration = Duration::from_millis(50);

pub struct NodeService {
    pub api: Api<SimKernel>,
    pub engine: Arc<Engine<SimKernel>>,
}

#[tonic::async_trait]
impl BpfmanNode for NodeService {
    async fn dry_run(
        &self,
        request: Request<wire::DryRunRequest>,
    ) -> Result<Response<wire::DryRunResponse>, Status> {
        self.api.dry_run(request).await
    }

    async fn replace_load(
        &self,
        request: Request<wire::ReplaceLoadRequest>,
    ) -> Result<Response<wire::ReplaceLoadResponse>, Status> {
        self.api.replace_load(request).await
    }

    async fn find_containers(
        &self,
        request: Request<wire::FindContainersRequest>,
    ) -> Result<Response<wire::FindContainersResponse>, Status> {
        self.api.find_containers(request).await
    }

    async fn find_network_namespace(
        &self,
        request: Request<wire::FindNetworkNamespaceRequest>,
    ) -> Result<Response<wire::NetworkNamespace>, Status> {
        self.api.find_network_namespace(request).await
    }

    async fn sample_runs(
        &self,
        request: Request<wire::SampleRunsRequest>,
    ) -> Result<Response<wire::SampleRunsResponse>, Status> {
        self.api.sample_runs(request).await
    }

    type HistoryStream = <Api<SimKernel> as BpfmanNode>::HistoryStream;

    async fn history(
        &self,
        request: Request<wire::HistoryRequest>,
    ) -> Result<Response<Self::HistoryStream>, Status> {
        self.api.history(request).await
    }

    type FollowEventsStream = <Api<SimKernel> as BpfmanNode>::FollowEventsStream;

    async fn follow_events(
        &self,
        request: Request<wire::FollowEventsRequest>,
    ) -> Result<Response<Self::FollowEventsStream>, Status> {
        self.api.follow_events(request).await
    }

    async fn examine(
        &self,
        request: Request<wire::ExamineRequest>,
    ) -> Result<Response<wire::ExamineResponse>, Status> {
        self.api.examine(request).await
    }

    type WatchStream = ReceiverStream<Result<wire::WatchEvent, Status>>;

    async fn watch(&self, _: Request<wire::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (events, stream) = mpsc::channel(1);
        let changed = Arc::new(Notify::new());
        let listener: Arc<ChangeListener> = Arc::new({
            let changed = Arc::clone(&changed);
            move || changed.notify_one()
        });
        self.engine.on_change(&listener);
        tokio::spawn(async move {
            let _listens = listener;
            let mut event = Event::Interfaces(interfaces());
            while events.send(Ok(wire::WatchEvent { event: Some(event) })).await.is_ok() {
                tokio::time::sleep(SPACING).await;
                tokio::select! {
                    () = changed.notified() => event = Event::Changed(wire::Changed {}),
                    () = events.closed() => return,
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

fn interfaces() -> wire::InterfaceList {
    let interface = wire::NetworkInterface {
        name: INTERFACE.to_owned(),
        index: 1,
        netns: String::new(),
        up: true,
        addresses: Vec::new(),
    };
    wire::InterfaceList { interfaces: vec![interface] }
}
