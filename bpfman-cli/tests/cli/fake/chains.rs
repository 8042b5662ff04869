//! Chain service of the fake server.

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::bpfman_chains_server::BpfmanChains;
use tonic::{Request, Response, Status};

use super::Script;

#[derive(Clone, Default)]
pub struct Chains {
    pub shown: ext::ShowChainResponse,
    pub hooks: Vec<ext::HookSummary>,
    pub verified: ext::VerifyChainResponse,
    pub trace: ext::PacketTrace,
    pub findings: Vec<String>,
    pub switched: ext::SetHookResponse,
    pub replaced: ext::ReplaceProgramResponse,
    pub matching: ext::Matching,
    pub strays: ext::ListStraysResponse,
}

type Answer<T> = Result<Response<T>, Status>;

impl Script {
    fn first_link(&self) -> Option<ext::Link> {
        self.links.first().cloned()
    }
}

#[tonic::async_trait]
impl BpfmanChains for Script {
    async fn attach(&self, request: Request<ext::ChainAttachRequest>) -> Answer<ext::ChainAttachResponse> {
        self.note(request.get_ref())?;
        Ok(Response::new(ext::ChainAttachResponse { link: self.first_link() }))
    }

    async fn update_link(&self, request: Request<ext::UpdateLinkRequest>) -> Answer<ext::UpdateLinkResponse> {
        self.note(request.get_ref())?;
        let outcome = "changed".to_owned();
        Ok(Response::new(ext::UpdateLinkResponse { link: self.first_link(), outcome }))
    }

    async fn replace_program(
        &self,
        request: Request<ext::ReplaceProgramRequest>,
    ) -> Answer<ext::ReplaceProgramResponse> {
        self.note(request.get_ref())?;
        Ok(Response::new(self.chains.replaced.clone()))
    }

    async fn rollback_program(
        &self,
        request: Request<ext::RollbackProgramRequest>,
    ) -> Answer<ext::ReplaceProgramResponse> {
        self.note(request.get_ref())?;
        Ok(Response::new(self.chains.replaced.clone()))
    }

    async fn show_chain(&self, request: Request<ext::ShowChainRequest>) -> Answer<ext::ShowChainResponse> {
        self.note(request.get_ref())?;
        Ok(Response::new(self.chains.shown.clone()))
    }

    async fn list_hooks(&self, request: Request<ext::ListHooksRequest>) -> Answer<ext::ListHooksResponse> {
        self.note(request.get_ref())?;
        Ok(Response::new(ext::ListHooksResponse { hooks: self.chains.hooks.clone() }))
    }

    async fn explain(&self, request: Request<ext::ExplainRequest>) -> Answer<ext::ExplainResponse> {
        self.note(request.get_ref())?;
        Ok(Response::new(ext::ExplainResponse { findings: self.chains.findings.clone() }))
    }

    async fn verify_chain(
        &self,
        request: Request<ext::VerifyChainRequest>,
    ) -> Answer<ext::VerifyChainResponse> {
        self.note(request.get_ref())?;
        Ok(Response::new(self.chains.verified.clone()))
    }

    async fn trace_chain(&self, request: Request<ext::TraceChainRequest>) -> Answer<ext::TraceChainResponse> {
        self.note(request.get_ref())?;
        let traces = vec![self.chains.trace.clone(); request.get_ref().packets.len()];
        Ok(Response::new(ext::TraceChainResponse { traces, note: "a test run".into() }))
    }

    async fn set_hook(&self, request: Request<ext::SetHookRequest>) -> Answer<ext::SetHookResponse> {
        self.note(request.get_ref())?;
        Ok(Response::new(self.chains.switched.clone()))
    }

    async fn adopt(&self, request: Request<ext::AdoptRequest>) -> Answer<ext::ChainAttachResponse> {
        self.note(request.get_ref())?;
        Ok(Response::new(ext::ChainAttachResponse { link: self.first_link() }))
    }

    async fn attach_matching(&self, request: Request<ext::AttachMatchingRequest>) -> Answer<ext::Matching> {
        self.note(request.get_ref())?;
        Ok(Response::new(self.chains.matching.clone()))
    }

    async fn list_strays(&self, request: Request<ext::ListStraysRequest>) -> Answer<ext::ListStraysResponse> {
        self.note(request.get_ref())?;
        Ok(Response::new(self.chains.strays.clone()))
    }

    async fn remove_stray(
        &self,
        request: Request<ext::RemoveStrayRequest>,
    ) -> Answer<ext::RemoveStrayResponse> {
        self.note(request.get_ref())?;
        Ok(Response::new(ext::RemoveStrayResponse {}))
    }

    async fn list_matching(
        &self,
        request: Request<ext::ListMatchingRequest>,
    ) -> Answer<ext::ListMatchingResponse> {
        self.note(request.get_ref())?;
        Ok(Response::new(ext::ListMatchingResponse { matchings: vec![self.chains.matching.clone()] }))
    }

    async fn detach_matching(
        &self,
        request: Request<ext::DetachMatchingRequest>,
    ) -> Answer<ext::DetachMatchingResponse> {
        self.note(request.get_ref())?;
        Ok(Response::new(ext::DetachMatchingResponse { links_ended: 3 }))
    }

    type TimeMembersStream = tokio_stream::Iter<std::vec::IntoIter<Result<ext::TimeMembersEvent, Status>>>;

    async fn time_members(
        &self,
        request: Request<ext::TimeMembersRequest>,
    ) -> Answer<Self::TimeMembersStream> {
        self.note(request.get_ref())?;
        Ok(Response::new(tokio_stream::iter(vec![Ok(ext::TimeMembersEvent::default())])))
    }
}
