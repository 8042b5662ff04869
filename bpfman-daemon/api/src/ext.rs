//! Service `bpfman.ext.v1.BpfmanExt`.

use std::collections::BTreeMap;

use bpfman_model::{BytecodeSource, ClientLease, LinkId, LoadRequest, ProgramId};
use bpfman_proto::ext::v1 as wire;
use bpfman_proto::ext::v1::bpfman_ext_server::BpfmanExt;
use bpfmand_engine::{EngineError, ImageAsk, ProgramDetails};
use bpfmand_kernel::Kernel;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::iterators::IteratorStream;
use crate::leases::LeaseStream;
use crate::map_contents::MapStream;
use crate::prints::PrintStream;
use crate::server::{Api, Reply, caller, fail};
use crate::type_support::try_support;
use crate::{
    Prepared, audit, ext_show, features, history, iterators, leases, map_contents, objects, parse, prints,
    status,
};

const OBJECT_PIECE: usize = 256 << 10;

#[tonic::async_trait]
impl<K: Kernel> BpfmanExt for Api<K> {
    async fn list_links(&self, request: Request<wire::ListLinksRequest>) -> Reply<wire::ListLinksResponse> {
        let request = request.into_inner();
        let program_type = parse::exact_type(&request.program_type)?;
        let metadata = parse::sorted(request.match_metadata);
        let permit = self.authorize(&[])?;
        let (program, others) = (request.program_id.map(ProgramId), request.others);
        let links = self
            .read(&permit, move |api| {
                let links = api.engine.list_links(program, program_type, &metadata).map_err(fail)?;
                let mut links: Vec<_> =
                    links.into_iter().map(|link| ext_show::link(link, &api.paths.fs)).collect();
                if others {
                    links.extend(api.links_of_others()?);
                }
                Ok(links)
            })
            .await?;
        Ok(Response::new(wire::ListLinksResponse { links }))
    }

    async fn get_link(&self, request: Request<wire::GetLinkRequest>) -> Reply<wire::GetLinkResponse> {
        let id = LinkId(request.into_inner().link_id);
        let permit = self.authorize(&[])?;
        let link = self
            .read(&permit, move |api| {
                let link = api.engine.describe_link(id).map_err(fail)?;
                Ok(ext_show::link(link, &api.paths.fs))
            })
            .await?;
        Ok(Response::new(wire::GetLinkResponse { link: Some(link) }))
    }

    async fn get_chain(&self, request: Request<wire::GetChainRequest>) -> Reply<wire::GetChainResponse> {
        let named = request.into_inner().hook;
        let permit = self.authorize(&[])?;
        let (interface, kind) = parse::hook(named.clone())?;
        self.admit_interface(&permit, &interface).await?;
        let chain =
            self.read(&permit, move |api| api.engine.show_chain(&interface, kind).map_err(fail)).await?;
        Ok(Response::new(ext_show::chain(&chain, named)))
    }

    async fn get_program(
        &self,
        request: Request<wire::GetProgramRequest>,
    ) -> Reply<wire::GetProgramResponse> {
        let id = ProgramId(request.into_inner().id);
        let permit = self.authorize(&[])?;
        let program = self
            .read(&permit, move |api| {
                let program = api.engine.describe_program(id).map_err(fail)?;
                api.whole(&program)
            })
            .await?;
        Ok(Response::new(wire::GetProgramResponse { program: Some(program) }))
    }

    async fn list_programs(
        &self,
        request: Request<wire::ListProgramsRequest>,
    ) -> Reply<wire::ListProgramsResponse> {
        let request = request.into_inner();
        let selector = parse::selector(request.select.unwrap_or_default(), &request.program_type)?;
        let permit = self.authorize(&[])?;
        let programs = self
            .read(&permit, move |api| {
                let (programs, owners) = (api.engine.list(&selector).map_err(fail)?, api.object_owners());
                let shown = |program: &ProgramDetails| {
                    let owner = owners.of_program(program.id.0);
                    ext_show::program(program, (Vec::new(), Vec::new()), owner, &api.paths.fs)
                };
                Ok(programs.iter().map(shown).collect())
            })
            .await?;
        Ok(Response::new(wire::ListProgramsResponse { programs }))
    }

    async fn load(&self, request: Request<wire::ExtLoadRequest>) -> Reply<wire::ExtLoadResponse> {
        let caller = caller(request.extensions())?;
        let request = request.into_inner();
        let inner = request.request.ok_or_else(|| status::invalid("the load is empty"))?;
        let wants_log = request.verifier_log;
        let cpu = parse::cpu_limit(&request.cpu_limit, &request.over_cpu)?;
        let ttl = request.ttl_seconds;
        let (values, lease) = (parse::values(request.values), request.lease.map(ClientLease));
        let mut request = LoadRequest { cpu, ttl, values, lease, ..parse::load(inner, caller, wants_log)? };
        audit::load(&request);
        let permit = self.authorize_load(&mut request, &[], Vec::new())?;
        let image = self.prepare(&permit, &request.source).await;
        let load = move |api: &Self| {
            let _image = image;
            match api.engine.load(&request) {
                Ok(outcome) => Ok(Ok(outcome)),
                Err(error) if wants_log && error.verifier_log().is_some() => Ok(Err(error)),
                Err(error) => Err(fail(error)),
            }
        };
        let response = match self.change(&permit, load).await? {
            Ok(outcome) => {
                audit::programs(&outcome.programs);
                wire::ExtLoadResponse {
                    response: Some(self.load_response(&outcome)),
                    verifier_logs: outcome.logs,
                    failure: None,
                    budget_kept: true,
                    values_set: true,
                    lease_kept: true,
                }
            }
            Err(error) => {
                let failure = status::failure(&error);
                audit::failed(failure.code, &failure.message);
                wire::ExtLoadResponse {
                    response: None,
                    verifier_logs: error.verifier_log().map(str::to_owned).into_iter().collect(),
                    failure: Some(failure),
                    budget_kept: true,
                    values_set: true,
                    lease_kept: true,
                }
            }
        };
        Ok(Response::new(response))
    }

    type PullStream = ReceiverStream<Result<wire::PullEvent, Status>>;

    async fn pull(&self, request: Request<wire::PullRequest>) -> Reply<Self::PullStream> {
        let caller_uid = caller(request.extensions())?;
        let request = request.into_inner();
        let wants_object = request.want_object;
        let image = request.image.ok_or_else(|| status::invalid("the pull names no image"))?;
        let source = parse::image_source(image)?;
        audit::source(&source);
        let permit = self.authorize(&[objects::source(&source)?])?;
        // A stalled client loses progress events. The last event's place is reserved here, so that it never blocks.
        let (events, stream) = mpsc::channel(16);
        let ended = |_| Status::internal("the stream of progress closed before it began");
        let last_place = events.clone().reserve_owned().await.map_err(ended)?;
        let api = self.clone();
        let call = audit::defer_entry();
        tokio::spawn(async move {
            let progress = |bytes, total| {
                let _full = events.try_send(Ok(wire::PullEvent { bytes, total, ..Default::default() }));
            };
            let pulled = async {
                let _running = api.activity.begin();
                let image = match &api.image_service {
                    Some(service) => service.prepare(&source, caller_uid, &progress).await,
                    None => Prepared::default(),
                };
                let fetch = move |api: &Self| {
                    let _image = image;
                    let BytecodeSource::Image { url, pull_policy, credentials } = source else {
                        return Err(status::invalid("the pull names no image"));
                    };
                    let ask =
                        ImageAsk { url: &url, pull_policy, credentials: credentials.as_ref(), caller_uid };
                    api.images.fetch(ask, &|_, _| {}).map_err(|failure| fail(EngineError::Image(failure)))
                };
                api.change(&permit, fetch).await
            };
            let pulled_and_sent = async {
                let image = pulled.await?;
                let pieces = image.bytes.chunks(OBJECT_PIECE).filter(|_| wants_object);
                for piece in pieces {
                    let piece = wire::PullEvent { object: piece.to_vec(), ..Default::default() };
                    let _nobody_reads = events.send(Ok(piece)).await;
                }
                Ok(wire::PullEvent {
                    bytes: image.bytes.len() as u64,
                    total: image.bytes.len() as u64,
                    digest: image.digest,
                    verified_by: image.verified_by,
                    object: Vec::new(),
                })
            };
            let last = tokio::select! {
                last = pulled_and_sent => last,
                () = events.closed() => Err(Status::cancelled("no caller waits for it any more")),
            };
            if let Some(call) = call {
                if let Ok(event) = &last {
                    call.of_origin(&event.digest, &event.verified_by);
                }
                call.end(last.as_ref().err()).await;
            }
            last_place.send(last);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type ReadIteratorStream = IteratorStream;

    async fn read_iterator(
        &self,
        request: Request<wire::ReadIteratorRequest>,
    ) -> Reply<Self::ReadIteratorStream> {
        let id = LinkId(request.into_inner().link_id);
        self.note_link(id);
        let permit = self.authorize_link(id, Vec::new())?;
        Ok(Response::new(iterators::stream(self.clone(), &permit, id)?))
    }

    type HoldLeaseStream = LeaseStream;

    async fn hold_lease(&self, _: Request<wire::HoldLeaseRequest>) -> Reply<Self::HoldLeaseStream> {
        let permit = self.authorize(&[])?;
        Ok(Response::new(leases::stream(self, &permit)?))
    }

    type ReadMapStream = MapStream;

    async fn read_map(&self, request: Request<wire::ReadMapRequest>) -> Reply<Self::ReadMapStream> {
        Ok(Response::new(map_contents::stream(self.clone(), request.into_inner()).await?))
    }

    type FollowPrintsStream = PrintStream;

    async fn follow_prints(&self, _: Request<wire::FollowPrintsRequest>) -> Reply<Self::FollowPrintsStream> {
        let permit = self.authorize(&[])?;
        Ok(Response::new(prints::stream(self.clone(), &permit).await?))
    }

    async fn features(&self, _request: Request<wire::FeaturesRequest>) -> Reply<wire::FeaturesResponse> {
        let permit = self.authorize(&[])?;
        // May load test programs.
        self.view(&permit, move |api| {
            let support = api.support.get_or_init(|| try_support(api.engine.kernel()));
            let (kernel, tried) = (api.engine.kernel(), &api.features.tried);
            Ok(api.features.answer(|| features::all(kernel, support, tried, &api.paths.runtime)))
        })
        .await
        .map(Response::new)
    }

    async fn info(&self, _request: Request<wire::InfoRequest>) -> Reply<wire::InfoResponse> {
        let permit = self.authorize(&[])?;
        // May load test programs.
        self.view(&permit, move |api| {
            let support = api.support.get_or_init(|| try_support(api.engine.kernel()));
            Ok(wire::InfoResponse {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                kernel_release: api.engine.kernel().features().release.clone(),
                runtime_dir: api.paths.runtime.display().to_string(),
                state_dir: api.paths.state.display().to_string(),
                features: support.iter().map(|(name, lack)| ((*name).to_owned(), lack.is_none())).collect(),
                reasons: support
                    .iter()
                    .filter_map(|(name, lack)| Some(((*name).to_owned(), lack.clone()?)))
                    .collect(),
                cage: api.cage.to_vec(),
                journal: history::status(&api.journal),
                refused_calls: history::refused(&api.journal),
                detached: api.gate.closed().unwrap_or_default(),
            })
        })
        .await
        .map(Response::new)
    }
}

impl<K: Kernel> Api<K> {
    pub(crate) fn whole(&self, program: &ProgramDetails) -> Result<wire::Program, Status> {
        let maps = self.engine.maps_of(program).map_err(fail)?;
        let links = match &program.managed {
            Some(_) => self.engine.list_links(Some(program.id), None, &BTreeMap::new()).map_err(fail)?,
            None => Vec::new(),
        };
        let owner = self.object_owners().of_program(program.id.0);
        Ok(ext_show::program(program, (maps, links), owner, &self.paths.fs))
    }
}
