//! Blocking gRPC client.

use std::path::Path;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::bpfman_chains_client::BpfmanChainsClient;
use bpfman_proto::ext::v1::bpfman_ext_client::BpfmanExtClient;
use bpfman_proto::ext::v1::bpfman_figures_client::BpfmanFiguresClient;
use bpfman_proto::ext::v1::bpfman_node_client::BpfmanNodeClient;
use bpfman_proto::v1;
use bpfman_proto::v1::bpfman_client::BpfmanClient;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// Client of all services of one daemon. A call after a restart of the daemon connects again.
#[derive(Debug)]
pub struct Wire {
    runtime: Runtime,
    v1: BpfmanClient<Channel>,
    ext: BpfmanExtClient<Channel>,
    chains: BpfmanChainsClient<Channel>,
    node: BpfmanNodeClient<Channel>,
    figures: BpfmanFiguresClient<Channel>,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident of $service:ident: $request:ty => $response:ty;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(&self, request: $request) -> Result<$response, Status> {
                let mut client = self.$service.clone();
                self.runtime.block_on(async move { client.$name(request).await }).map(tonic::Response::into_inner)
            }
        )*
    };
}

impl Wire {
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            // One worker thread, which answers the daemon also between calls, as other clients do.
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let endpoint = Endpoint::try_from(format!("unix:{}", socket.display())).unwrap();
        let channel =
            runtime.block_on(async { endpoint.http2_max_header_list_size(64 << 20).connect_lazy() });
        Self {
            runtime,
            v1: BpfmanClient::new(channel.clone()).max_decoding_message_size(256 << 20),
            ext: BpfmanExtClient::new(channel.clone()).max_decoding_message_size(256 << 20),
            chains: BpfmanChainsClient::new(channel.clone()).max_decoding_message_size(256 << 20),
            node: BpfmanNodeClient::new(channel.clone()).max_decoding_message_size(256 << 20),
            figures: BpfmanFiguresClient::new(channel).max_decoding_message_size(256 << 20),
        }
    }

    calls! {
        load of v1: v1::LoadRequest => v1::LoadResponse;
        unload of v1: v1::UnloadRequest => v1::UnloadResponse;
        attach of v1: v1::AttachRequest => v1::AttachResponse;
        detach of v1: v1::DetachRequest => v1::DetachResponse;
        list of v1: v1::ListRequest => v1::ListResponse;
        get of v1: v1::GetRequest => v1::GetResponse;
        pull_bytecode of v1: v1::PullBytecodeRequest => v1::PullBytecodeResponse;
        list_links of ext: ext::ListLinksRequest => ext::ListLinksResponse;
        get_link of ext: ext::GetLinkRequest => ext::GetLinkResponse;
        get_chain of ext: ext::GetChainRequest => ext::GetChainResponse;
        get_program of ext: ext::GetProgramRequest => ext::GetProgramResponse;
        list_programs of ext: ext::ListProgramsRequest => ext::ListProgramsResponse;
        info of ext: ext::InfoRequest => ext::InfoResponse;
        update_link of chains: ext::UpdateLinkRequest => ext::UpdateLinkResponse;
        replace_program of chains: ext::ReplaceProgramRequest => ext::ReplaceProgramResponse;
        rollback_program of chains: ext::RollbackProgramRequest => ext::ReplaceProgramResponse;
        show_chain of chains: ext::ShowChainRequest => ext::ShowChainResponse;
        list_hooks of chains: ext::ListHooksRequest => ext::ListHooksResponse;
        explain of chains: ext::ExplainRequest => ext::ExplainResponse;
        verify_chain of chains: ext::VerifyChainRequest => ext::VerifyChainResponse;
        trace_chain of chains: ext::TraceChainRequest => ext::TraceChainResponse;
        set_hook of chains: ext::SetHookRequest => ext::SetHookResponse;
        adopt of chains: ext::AdoptRequest => ext::ChainAttachResponse;
        attach_matching of chains: ext::AttachMatchingRequest => ext::Matching;
        list_matching of chains: ext::ListMatchingRequest => ext::ListMatchingResponse;
        detach_matching of chains: ext::DetachMatchingRequest => ext::DetachMatchingResponse;
        find_containers of node: ext::FindContainersRequest => ext::FindContainersResponse;
        find_network_namespace of node: ext::FindNetworkNamespaceRequest => ext::NetworkNamespace;
        sample_runs of node: ext::SampleRunsRequest => ext::SampleRunsResponse;
        dry_run of node: ext::DryRunRequest => ext::DryRunResponse;
        replace_load of node: ext::ReplaceLoadRequest => ext::ReplaceLoadResponse;
    }

    pub fn attach_by_chains(&self, request: ext::ChainAttachRequest) -> Result<ext::Link, Status> {
        let mut client = self.chains.clone();
        let answer = self.runtime.block_on(async move { client.attach(request).await })?.into_inner();
        answer.link.ok_or_else(|| Status::internal("the answer has no link"))
    }

    pub fn watch(&self, netns: &[String]) -> Result<Streamed<'_, ext::WatchEvent>, Status> {
        let mut client = self.node.clone();
        let request = ext::WatchRequest { netns: netns.to_vec() };
        let stream = self.runtime.block_on(async move { client.watch(request).await })?.into_inner();
        Ok(Streamed { runtime: &self.runtime, stream })
    }

    pub fn follow_figures(
        &self,
        request: ext::FollowFiguresRequest,
    ) -> Result<Streamed<'_, ext::Figures>, Status> {
        let mut client = self.figures.clone();
        let stream = self.runtime.block_on(async move { client.follow_figures(request).await })?.into_inner();
        Ok(Streamed { runtime: &self.runtime, stream })
    }
}

#[derive(Debug)]
pub struct Streamed<'a, T> {
    runtime: &'a Runtime,
    stream: Streaming<T>,
}

impl<T> Streamed<'_, T> {
    pub fn next_message(&mut self) -> Result<Option<T>, Status> {
        let next = async { tokio::time::timeout(crate::wait::DEADLINE, self.stream.message()).await };
        self.runtime.block_on(next).expect("a message comes")
    }
}

impl Streamed<'_, ext::WatchEvent> {
    pub fn next_event(&mut self) -> Result<Option<ext::watch_event::Event>, Status> {
        Ok(self.next_message()?.map(|event| event.event.expect("an event says what it is")))
    }
}
