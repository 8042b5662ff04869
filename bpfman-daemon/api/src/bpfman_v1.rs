use bpfman_model::{AttachRequest, BytecodeSource, LinkId, ProgramId};
use bpfman_proto::v1::bpfman_server::Bpfman;
use bpfman_proto::{attach_point, v1};
use bpfmand_engine::{EngineError, ImageAsk};
use bpfmand_kernel::Kernel;
use tonic::{Request, Response};

use crate::server::{Api, Reply, caller, fail};
use crate::{audit, objects, parse, show, status};

#[tonic::async_trait]
impl<K: Kernel> Bpfman for Api<K> {
    async fn load(&self, request: Request<v1::LoadRequest>) -> Reply<v1::LoadResponse> {
        let caller = caller(request.extensions())?;
        let mut request = parse::load(request.into_inner(), caller, false)?;
        audit::load(&request);
        let permit = self.authorize_load(&mut request, &[], Vec::new())?;
        let image = self.prepare(&permit, &request.source).await;
        let outcome =
            self.change_with(&permit, image, move |api| api.engine.load(&request).map_err(fail)).await?;
        audit::programs(&outcome.programs);
        Ok(Response::new(self.load_response(&outcome)))
    }

    async fn unload(&self, request: Request<v1::UnloadRequest>) -> Reply<v1::UnloadResponse> {
        let id = ProgramId(request.into_inner().id);
        self.note_program(id);
        let permit = self.authorize_programs([id], Vec::new())?;
        self.change(&permit, move |api| api.engine.unload(id).map_err(fail)).await?;
        Ok(Response::new(v1::UnloadResponse {}))
    }

    async fn attach(&self, request: Request<v1::AttachRequest>) -> Reply<v1::AttachResponse> {
        let request = request.into_inner();
        let (point, metadata) = attach_point::published(request.attach).map_err(status::bad_point)?;
        let mut request = AttachRequest { metadata, ..AttachRequest::new(ProgramId(request.id), point) };
        audit::attach(&request);
        let permit = self.authorize_attach(&mut request).await?;
        let reader = self.admit_point(&permit, &request.point).await?;
        let attach = move |api: &Self| api.engine.attach_by(&request, reader).map_err(fail);
        let link = self.change(&permit, attach).await?;
        audit::made_link(link.record.id);
        audit::now(self.engine.summary_of_link(link.record.id));
        Ok(Response::new(v1::AttachResponse { link_id: link.record.id.0 }))
    }

    async fn detach(&self, request: Request<v1::DetachRequest>) -> Reply<v1::DetachResponse> {
        let id = LinkId(request.into_inner().link_id);
        self.note_link(id);
        let permit = self.authorize_link(id, Vec::new())?;
        self.change(&permit, move |api| api.engine.detach(id).map_err(fail)).await?;
        Ok(Response::new(v1::DetachResponse {}))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Reply<v1::ListResponse> {
        let selector = parse::selector(request.into_inner(), "")?;
        let permit = self.authorize(&[])?;
        let results = self
            .read(&permit, move |api| {
                let programs = api.engine.list(&selector).map_err(fail)?;
                Ok(programs
                    .iter()
                    .map(|program| v1::list_response::ListResult {
                        info: program
                            .managed
                            .as_ref()
                            .map(|managed| show::program_info(managed, &api.paths.fs)),
                        kernel_info: Some(show::kernel_info(program)),
                    })
                    .collect())
            })
            .await?;
        Ok(Response::new(v1::ListResponse { results }))
    }

    async fn pull_bytecode(
        &self,
        request: Request<v1::PullBytecodeRequest>,
    ) -> Reply<v1::PullBytecodeResponse> {
        let caller = caller(request.extensions())?;
        let image = request.into_inner().image.ok_or_else(|| status::invalid("the pull names no image"))?;
        let source = parse::image_source(image)?;
        audit::source(&source);
        let permit = self.authorize(&[objects::source(&source)?])?;
        let image = self.prepare(&permit, &source).await;
        let fetched = self
            .change_with(&permit, image, move |api| {
                let BytecodeSource::Image { url, pull_policy, credentials } = source else { return Ok(None) };
                let credentials = credentials.as_ref();
                let ask = ImageAsk { url: &url, pull_policy, credentials, caller_uid: caller };
                let fetched = api.images.fetch(ask, &|_, _| {});
                fetched.map(Some).map_err(|failure| fail(EngineError::Image(failure)))
            })
            .await?;
        if let Some(image) = fetched {
            audit::origin(image.digest, image.verified_by);
        }
        Ok(Response::new(v1::PullBytecodeResponse {}))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Reply<v1::GetResponse> {
        let id = ProgramId(request.into_inner().id);
        let permit = self.authorize(&[])?;
        let response = self
            .read(&permit, move |api| {
                let program = api.engine.describe_program(id).map_err(fail)?;
                Ok(v1::GetResponse {
                    info: program.managed.as_ref().map(|managed| show::program_info(managed, &api.paths.fs)),
                    kernel_info: Some(show::kernel_info(&program)),
                })
            })
            .await?;
        Ok(Response::new(response))
    }
}

impl<K: Kernel> Api<K> {
    pub(crate) fn load_response(&self, outcome: &bpfmand_engine::LoadOutcome) -> v1::LoadResponse {
        v1::LoadResponse {
            programs: outcome
                .programs
                .iter()
                .map(|program| v1::LoadResponseInfo {
                    info: program.managed.as_ref().map(|managed| show::program_info(managed, &self.paths.fs)),
                    kernel_info: Some(show::kernel_info(program)),
                })
                .collect(),
        }
    }
}
