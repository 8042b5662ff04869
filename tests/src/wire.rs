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

/// All services of one daemon. A call after a restart of the daemon connects again.
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
            ///
            /// # Errors
            /// Returns the daemon's status, or that of a broken connection.
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
            // One thread that also answers the daemon between calls, like other clients.
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
        /// Calls Load of `bpfman.v1`.
        load of v1: v1::LoadRequest => v1::LoadResponse;
        /// Calls Unload of `bpfman.v1`.
        unload of v1: v1::UnloadRequest => v1::UnloadResponse;
        /// Calls Attach of `bpfman.v1`.
        attach of v1: v1::AttachRequest => v1::AttachResponse;
        /// Calls Detach of `bpfman.v1`.
        detach of v1: v1::DetachRequest => v1::DetachResponse;
        /// Calls List of `bpfman.v1`.
        list of v1: v1::ListRequest => v1::ListResponse;
        /// Calls Get of `bpfman.v1`.
        get of v1: v1::GetRequest => v1::GetResponse;
        /// Calls PullBytecode of `bpfman.v1`.
        pull_bytecode of v1: v1::PullBytecodeRequest => v1::PullBytecodeResponse;
        /// Returns links with all fields.
        list_links of ext: ext::ListLinksRequest => ext::ListLinksResponse;
        /// Returns one link with all fields.
        get_link of ext: ext::GetLinkRequest => ext::GetLinkResponse;
        /// Returns the chain of a hook.
        get_chain of ext: ext::GetChainRequest => ext::GetChainResponse;
        /// Returns one program with all fields.
        get_program of ext: ext::GetProgramRequest => ext::GetProgramResponse;
        /// Returns programs with all fields.
        list_programs of ext: ext::ListProgramsRequest => ext::ListProgramsResponse;
        /// Returns version, directories and features.
        info of ext: ext::InfoRequest => ext::InfoResponse;
        /// Changes a link in place.
        update_link of chains: ext::UpdateLinkRequest => ext::UpdateLinkResponse;
        /// Replaces a program.
        replace_program of chains: ext::ReplaceProgramRequest => ext::ReplaceProgramResponse;
        /// Rolls back the replacement of a program.
        rollback_program of chains: ext::RollbackProgramRequest => ext::ReplaceProgramResponse;
        /// Returns everything that runs at a hook.
        show_chain of chains: ext::ShowChainRequest => ext::ShowChainResponse;
        /// Returns all hooks with a chain.
        list_hooks of chains: ext::ListHooksRequest => ext::ListHooksResponse;
        /// Explains why programs of a chain run or not.
        explain of chains: ext::ExplainRequest => ext::ExplainResponse;
        /// Compares a chain with the one that its members result in.
        verify_chain of chains: ext::VerifyChainRequest => ext::VerifyChainResponse;
        /// Runs packets through the programs of a hook.
        trace_chain of chains: ext::TraceChainRequest => ext::TraceChainResponse;
        /// Sets options of a hook.
        set_hook of chains: ext::SetHookRequest => ext::SetHookResponse;
        /// Adopts a third-party program.
        adopt of chains: ext::AdoptRequest => ext::ChainAttachResponse;
        /// Attaches to all matching interfaces.
        attach_matching of chains: ext::AttachMatchingRequest => ext::Matching;
        /// Returns attachments by pattern.
        list_matching of chains: ext::ListMatchingRequest => ext::ListMatchingResponse;
        /// Removes an attachment by pattern.
        detach_matching of chains: ext::DetachMatchingRequest => ext::DetachMatchingResponse;
        /// Returns the processes of containers.
        find_containers of node: ext::FindContainersRequest => ext::FindContainersResponse;
        find_network_namespace of node: ext::FindNetworkNamespaceRequest => ext::NetworkNamespace;
        /// Samples the runs of programs for a while.
        sample_runs of node: ext::SampleRunsRequest => ext::SampleRunsResponse;
        /// Returns the effects of a load and its attachments without changing anything.
        dry_run of node: ext::DryRunRequest => ext::DryRunResponse;
        /// Replaces all programs of a load by a new version.
        replace_load of node: ext::ReplaceLoadRequest => ext::ReplaceLoadResponse;
    }

    /// Calls Attach of the additional service. Fails with the daemon's status, or that of a broken connection.
    pub fn attach_by_chains(&self, request: ext::ChainAttachRequest) -> Result<ext::Link, Status> {
        let mut client = self.chains.clone();
        let answer = self.runtime.block_on(async move { client.attach(request).await })?.into_inner();
        answer.link.ok_or_else(|| Status::internal("the answer has no link"))
    }

    /// Watches changes, also in these network namespaces. Fails with the daemon's status, or that of a broken
    /// connection.
    pub fn watch(&self, netns: &[String]) -> Result<Streamed<'_, ext::WatchEvent>, Status> {
        let mut client = self.node.clone();
        let request = ext::WatchRequest { netns: netns.to_vec() };
        let stream = self.runtime.block_on(async move { client.watch(request).await })?.into_inner();
        Ok(Streamed { runtime: &self.runtime, stream })
    }

    /// Follows the metrics of programs, chains and maps. Fails with the daemon's status, or that of a broken
    /// connection.
    pub fn follow_figures(
        &self,
        request: ext::FollowFiguresRequest,
    ) -> Result<Streamed<'_, ext::Figures>, Status> {
        let mut client = self.figures.clone();
        let stream = self.runtime.block_on(async move { client.follow_figures(request).await })?.into_inner();
        Ok(Streamed { runtime: &self.runtime, stream })
    }
}

/// Stream of messages from the daemon.
#[derive(Debug)]
pub struct Streamed<'a, T> {
    runtime: &'a Runtime,
    stream: Streaming<T>,
}

impl<T> Streamed<'_, T> {
    /// Returns the next message; `None` at the end of the stream. Fails with the status with which the stream ended.
    /// Panics if no message arrives by the deadline.
    pub fn next_message(&mut self) -> Result<Option<T>, Status> {
        let next = async { tokio::time::timeout(crate::wait::DEADLINE, self.stream.message()).await };
        self.runtime.block_on(next).expect("a message comes")
    }
}

impl Streamed<'_, ext::WatchEvent> {
    /// Returns the next event; `None` at the end of the stream. Fails with the status with which the stream ended.
    /// Panics if no event arrives by the deadline.
    pub fn next_event(&mut self) -> Result<Option<ext::watch_event::Event>, Status> {
        Ok(self.next_message()?.map(|event| event.event.expect("an event says what it is")))
    }
}
