//! The service `bpfman.ext.v1.BpfmanChains`.

use bpfman_proto::ext::v1 as wire;
use bpfman_proto::ext::v1::bpfman_chains_server::BpfmanChains;
use bpfmand_core::{AttachRequest, BytecodeSource, LinkId, ProgramId, ProgramType, VerdictFamily};
use bpfmand_engine::{ReplaceOutcome, TracePacket};
use bpfmand_kernel::Kernel;
use tonic::{Request, Response, Status};

use crate::server::{Api, caller, fail};
use crate::{chains_parse, chains_show, ext_show, parse, status};

/// Of calls whose part of the engine is still to come.
const NOT_YET: &str = "this daemon does not do that yet";

#[tonic::async_trait]
impl<K: Kernel> BpfmanChains for Api<K> {
    async fn attach(
        &self,
        request: Request<wire::ChainAttachRequest>,
    ) -> Result<Response<wire::ChainAttachResponse>, Status> {
        let request = request.into_inner();
        let (point, metadata) = parse::attach(request.attach)?;
        let order = chains_parse::order(request.order)?.unwrap_or_default();
        let request = AttachRequest { program: ProgramId(request.program_id), point, order, metadata };
        let link = self
            .run(move |api| {
                let link = api.engine.attach(&request).map_err(fail)?;
                Ok(ext_show::link(link, &api.paths.fs))
            })
            .await?;
        Ok(Response::new(wire::ChainAttachResponse { link: Some(link) }))
    }

    async fn update_link(
        &self,
        request: Request<wire::UpdateLinkRequest>,
    ) -> Result<Response<wire::UpdateLinkResponse>, Status> {
        let request = request.into_inner();
        let response = self
            .run(move |api| {
                let family = api.family_of(LinkId(request.link_id))?;
                let request = chains_parse::update(request, family)?;
                let (outcome, link) = api.engine.update_link(&request).map_err(fail)?;
                Ok(wire::UpdateLinkResponse {
                    link: Some(ext_show::link(link, &api.paths.fs)),
                    outcome: outcome.name().to_owned(),
                })
            })
            .await?;
        Ok(Response::new(response))
    }

    async fn show_chain(
        &self,
        request: Request<wire::ShowChainRequest>,
    ) -> Result<Response<wire::ShowChainResponse>, Status> {
        let named = request.into_inner().hook;
        let (interface, kind) = parse::hook(named.clone())?;
        let chain = self.run(move |api| api.engine.chain_of(&interface, kind).map_err(fail)).await?;
        Ok(Response::new(chains_show::chain(chain, named)))
    }

    async fn trace_chain(
        &self,
        request: Request<wire::TraceChainRequest>,
    ) -> Result<Response<wire::TraceChainResponse>, Status> {
        let request = request.into_inner();
        let (interface, kind) = parse::hook(request.hook)?;
        let packets: Vec<TracePacket> = request
            .packets
            .into_iter()
            .map(|packet| TracePacket { data: packet.data, mark: packet.mark })
            .collect();
        let trace =
            self.run(move |api| api.engine.trace_chain(&interface, kind, &packets).map_err(fail)).await?;
        Ok(Response::new(chains_show::trace(trace, kind.verdicts())))
    }

    async fn replace_program(
        &self,
        request: Request<wire::ReplaceProgramRequest>,
    ) -> Result<Response<wire::ReplaceProgramResponse>, Status> {
        let caller = caller(request.extensions())?;
        let request = chains_parse::replace(request.into_inner(), caller)?;
        let room = match request.source {
            BytecodeSource::Image { .. } => Some(self.room_to_pull().await?),
            BytecodeSource::File(_) => None,
        };
        let response = self
            .run(move |api| {
                let _room = room;
                api.replaced(api.engine.replace_program(&request).map_err(fail)?)
            })
            .await?;
        Ok(Response::new(response))
    }

    async fn rollback_program(
        &self,
        request: Request<wire::RollbackProgramRequest>,
    ) -> Result<Response<wire::ReplaceProgramResponse>, Status> {
        let id = ProgramId(request.into_inner().program_id);
        let response =
            self.run(move |api| api.replaced(api.engine.rollback_program(id).map_err(fail)?)).await?;
        Ok(Response::new(response))
    }

    async fn list_hooks(
        &self,
        _: Request<wire::ListHooksRequest>,
    ) -> Result<Response<wire::ListHooksResponse>, Status> {
        Err(status::unsupported(NOT_YET))
    }

    async fn explain(
        &self,
        _: Request<wire::ExplainRequest>,
    ) -> Result<Response<wire::ExplainResponse>, Status> {
        Err(status::unsupported(NOT_YET))
    }

    async fn verify_chain(
        &self,
        _: Request<wire::VerifyChainRequest>,
    ) -> Result<Response<wire::VerifyChainResponse>, Status> {
        Err(status::unsupported(NOT_YET))
    }

    async fn set_hook(
        &self,
        _: Request<wire::SetHookRequest>,
    ) -> Result<Response<wire::SetHookResponse>, Status> {
        Err(status::unsupported(NOT_YET))
    }

    async fn adopt(
        &self,
        _: Request<wire::AdoptRequest>,
    ) -> Result<Response<wire::ChainAttachResponse>, Status> {
        Err(status::unsupported(NOT_YET))
    }

    async fn attach_matching(
        &self,
        _: Request<wire::AttachMatchingRequest>,
    ) -> Result<Response<wire::Matching>, Status> {
        Err(status::unsupported(NOT_YET))
    }

    async fn list_matching(
        &self,
        _: Request<wire::ListMatchingRequest>,
    ) -> Result<Response<wire::ListMatchingResponse>, Status> {
        Err(status::unsupported(NOT_YET))
    }

    async fn detach_matching(
        &self,
        _: Request<wire::DetachMatchingRequest>,
    ) -> Result<Response<wire::DetachMatchingResponse>, Status> {
        Err(status::unsupported(NOT_YET))
    }
}

impl<K: Kernel> Api<K> {
    /// What a replacement did, with the program in full.
    fn replaced(&self, outcome: ReplaceOutcome) -> Result<wire::ReplaceProgramResponse, Status> {
        let program = self.whole(&outcome.program)?;
        Ok(chains_show::replaced(outcome, program))
    }

    /// The verdicts of a link's set; none for links that have no set.
    fn family_of(&self, link: LinkId) -> Result<Option<VerdictFamily>, Status> {
        let link = self.engine.describe_link(link).map_err(fail)?;
        Ok(match link.program_type {
            ProgramType::Xdp => Some(VerdictFamily::Xdp),
            ProgramType::Tc => Some(VerdictFamily::Tc),
            _ => None,
        })
    }
}
