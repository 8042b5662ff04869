//! Service `bpfman.ext.v1.BpfmanChains`.

use std::time::Instant;

use bpfman_model::{
    AttachRequest, HookKind, Interface, LinkId, MatchingId, Owner, ProgramId, ProgramType, Sharing,
    VerdictFamily,
};
use bpfman_proto::attach_point;
use bpfman_proto::ext::v1 as wire;
use bpfman_proto::ext::v1::bpfman_chains_server::BpfmanChains;
use bpfmand_access::AccessVerb;
use bpfmand_engine::{
    EngineError, HookChange, HookSwitches, Remainder, ReplaceOutcome, SwitchCaller, SwitchRight, TraceLimits,
    TracePacket, UndoFailure,
};
use bpfmand_kernel::Kernel;
use tonic::{Request, Response, Status};

use crate::authorize::Permit;
use crate::chains_show::HookView;
use crate::explain::{PlaceToExplain, explain};
use crate::member_measurements::{self, MeasuredMembers};
use crate::server::{Api, Reply, caller, fail};
use crate::{audit, chains_parse, chains_show, ext_show, parse, status, strays};

#[tonic::async_trait]
impl<K: Kernel> BpfmanChains for Api<K> {
    async fn attach(&self, request: Request<wire::ChainAttachRequest>) -> Reply<wire::ChainAttachResponse> {
        let by = format!("user {}", caller(request.extensions())?);
        let request = request.into_inner();
        let (point, metadata) =
            attach_point::either(request.attach, request.point).map_err(status::bad_point)?;
        let order = chains_parse::order(request.order)?.unwrap_or_default();
        let sharing = Sharing {
            isolated: request.isolated,
            redirect_may_proceed: request.redirect_may_proceed,
            shadow: request.shadow,
        };
        let (keep, ttl, again) = (request.keep_attached, request.ttl_seconds, request.again);
        let mut request = AttachRequest {
            ttl,
            program: ProgramId(request.program_id),
            point,
            order,
            sharing,
            metadata,
            owner: Owner::default(),
            group: None,
        };
        audit::attach(&request);
        let permit = self.authorize_attach(&mut request).await?;
        let reader = self.admit_point(&permit, &request.point).await?;
        // Keeping a hook needs the same permissions as its other switches.
        let seen = match request.point.hook().filter(|_| keep) {
            Some((interface, kind)) => {
                self.authorize_hook_for(AccessVerb::Settings, interface, kind).await?.1
            }
            // No permission over members was checked, so none is covered.
            None => Some(Vec::new()),
        };
        let owner = permit.owner.clone();
        let link = self
            .change(&permit, move |api| {
                let attached = match again {
                    true => api.engine.attach_by(&request, reader),
                    false => api.engine.attach_once(&request, reader),
                };
                let link = attached.map_err(fail)?;
                if keep {
                    let members = seen.map(|mut members| {
                        members.push(link.record.id);
                        members
                    });
                    let right = members.as_deref().map_or(SwitchRight::All, SwitchRight::Members);
                    let caller = SwitchCaller { by: &by, owner, right, releases: None };
                    api.keep(&request, link.record.id, &caller)?;
                }
                Ok(ext_show::link(link, &api.paths.fs))
            })
            .await?;
        audit::made_link(LinkId(link.id));
        audit::now(self.engine.summary_of_link(LinkId(link.id)));
        Ok(Response::new(wire::ChainAttachResponse { link: Some(link) }))
    }

    async fn update_link(
        &self,
        request: Request<wire::UpdateLinkRequest>,
    ) -> Reply<wire::UpdateLinkResponse> {
        let request = request.into_inner();
        let link = LinkId(request.link_id);
        self.note_link(link);
        // Check the permission first: properties of the link are not disclosed without it.
        let permit = self.authorize_link(link, Vec::new())?;
        let family = self.read(&permit, move |api| api.family_of(link)).await?;
        let request = chains_parse::update(request, family)?;
        let permit = self.authorize_update(&request).await?;
        let response = self
            .change(&permit, move |api| {
                let (outcome, link) = api.engine.update_link(&request).map_err(fail)?;
                Ok(wire::UpdateLinkResponse {
                    link: Some(ext_show::link(link, &api.paths.fs)),
                    outcome: outcome.name().to_owned(),
                })
            })
            .await?;
        audit::now(self.engine.summary_of_link(link));
        Ok(Response::new(response))
    }

    async fn show_chain(&self, request: Request<wire::ShowChainRequest>) -> Reply<wire::ShowChainResponse> {
        let request = request.into_inner();
        let sample = chains_parse::sample(request.sample_ms)?;
        let at = parse::hook(request.hook.clone())?;
        let permit = self.authorize(&[])?;
        let (interface, kind) = at.clone();
        self.admit_interface(&permit, &interface).await?;
        let first = self.view(&permit, move |api| api.look(&interface, kind)).await?;
        let Some(time) = sample else { return Ok(Response::new(chains_show::look(first, request.hook))) };
        let began = Instant::now();
        tokio::time::sleep(time).await;
        let (interface, kind) = at;
        let second = self.view(&permit, move |api| api.look(&interface, kind)).await?;
        let mut shown = chains_show::look(second, request.hook);
        chains_show::rates(&mut shown, &first, began.elapsed());
        Ok(Response::new(shown))
    }

    async fn trace_chain(
        &self,
        request: Request<wire::TraceChainRequest>,
    ) -> Reply<wire::TraceChainResponse> {
        let request = request.into_inner();
        let (interface, kind) = parse::hook(request.hook)?;
        audit::hook(&interface, kind);
        let (permit, members) = self.authorize_hook(&interface, kind).await?;
        // The programs run on their real maps and write to them: the call also needs the right to write maps.
        let (_, writable) = self.authorize_hook_for(AccessVerb::MapsWrite, &interface, kind).await?;
        let members = match (members, writable) {
            (Some(mut members), Some(writable)) => {
                members.retain(|link| writable.contains(link));
                Some(members)
            }
            (members, writable) => members.or(writable),
        };
        let sends_nothing = !request.for_real;
        let packets: Vec<TracePacket> = request
            .packets
            .into_iter()
            .map(|packet| TracePacket { data: packet.data, mark: packet.mark })
            .collect();
        let count = packets.len();
        let trace = self
            .change(&permit, move |api| {
                let limits = TraceLimits { members: members.as_deref(), sends_nothing };
                api.engine.trace_chain(&interface, kind, &packets, limits).map_err(fail)
            })
            .await?;
        audit::made(format_args!("trace of {count} packets"));
        Ok(Response::new(chains_show::trace(trace, kind.verdicts(), sends_nothing)))
    }

    async fn replace_program(
        &self,
        request: Request<wire::ReplaceProgramRequest>,
    ) -> Reply<wire::ReplaceProgramResponse> {
        let caller = caller(request.extensions())?;
        let mut request = chains_parse::replace(request.into_inner(), caller)?;
        audit::about_program(self.engine.summary_of_program(request.program));
        audit::replacement(&[request.program], &request.source);
        let permit = self.authorize_replace(&mut request).await?;
        let image = self.prepare(&permit, &request.source).await;
        let outcome = self
            .change_with(&permit, image, move |api| api.engine.replace_program(&request).map_err(fail))
            .await?;
        self.answer_replaced(&permit, outcome).await
    }

    async fn rollback_program(
        &self,
        request: Request<wire::RollbackProgramRequest>,
    ) -> Reply<wire::ReplaceProgramResponse> {
        let id = ProgramId(request.into_inner().program_id);
        self.note_program(id);
        let (permit, places) = self.authorize_rollback(id).await?;
        let outcome = self
            .change(&permit, move |api| api.engine.rollback_program(id, Some(&places)).map_err(fail))
            .await?;
        self.answer_replaced(&permit, outcome).await
    }

    async fn list_hooks(&self, _: Request<wire::ListHooksRequest>) -> Reply<wire::ListHooksResponse> {
        let permit = self.authorize(&[])?;
        let hooks = self.read(&permit, |api| api.engine.list_hooks().map_err(fail)).await?;
        let hooks = hooks.into_iter().map(chains_show::hook).collect();
        Ok(Response::new(wire::ListHooksResponse { hooks }))
    }

    async fn explain(&self, request: Request<wire::ExplainRequest>) -> Reply<wire::ExplainResponse> {
        let request = request.into_inner();
        let place = chains_parse::explained_place(request.hook, &request.cgroup)?;
        let permit = self.authorize(&[])?;
        if let PlaceToExplain::Hook(interface, _) = &place {
            self.admit_interface(&permit, interface).await?;
        }
        let member = Some(request.member).filter(|member| !member.is_empty());
        let findings =
            self.view(&permit, move |api| explain(&api.engine, &place, member.as_deref()).map_err(fail));
        let findings = findings.await?;
        Ok(Response::new(wire::ExplainResponse { findings }))
    }

    async fn verify_chain(
        &self,
        request: Request<wire::VerifyChainRequest>,
    ) -> Reply<wire::VerifyChainResponse> {
        let (interface, kind) = parse::hook(request.into_inner().hook)?;
        let (permit, members) = self.authorize_hook(&interface, kind).await?;
        let verified = self
            .change(&permit, move |api| {
                api.engine.verify_chain(&interface, kind, members.as_deref()).map_err(fail)
            })
            .await?;
        Ok(Response::new(chains_show::verified(verified)))
    }

    async fn set_hook(&self, request: Request<wire::SetHookRequest>) -> Reply<wire::SetHookResponse> {
        let by = format!("user {}", caller(request.extensions())?);
        let request = request.into_inner();
        let change = chains_parse::hook_change(&request)?;
        let (interface, kind) = parse::hook(request.hook)?;
        audit::hook(&interface, kind);
        let (permit, rights) = self.authorize_switch(&interface, kind, &change).await?;
        let response = self
            .change(&permit, move |api| {
                let changed = api.engine.set_hook(&interface, kind, &change, &rights.caller(&by));
                let changed = changed.map_err(|error| rights.fail(error))?;
                let switches = match api.engine.show_chain(&interface, kind) {
                    Ok(view) => view.switches,
                    // An empty hook is removed with its last switch.
                    Err(EngineError::NoChain { .. }) => HookSwitches::default(),
                    Err(error) => return Err(fail(error)),
                };
                Ok(chains_show::switches(changed, &switches))
            })
            .await?;
        Ok(Response::new(response))
    }

    type TimeMembersStream = MeasuredMembers;

    async fn time_members(
        &self,
        request: Request<wire::TimeMembersRequest>,
    ) -> Reply<Self::TimeMembersStream> {
        member_measurements::stream(self, request.into_inner()).await.map(Response::new)
    }

    async fn adopt(&self, request: Request<wire::AdoptRequest>) -> Reply<wire::ChainAttachResponse> {
        let caller = caller(request.extensions())?;
        let mut request = chains_parse::adopt(request.into_inner(), caller)?;
        audit::object(format_args!("{:?}", request.what));
        let permit = self.authorize_adopt(&mut request)?;
        if let Some(interface) = &request.interface {
            self.admit_interface(&permit, interface).await?;
        }
        let link = self
            .change(&permit, move |api| {
                let link = api.engine.adopt(&request).map_err(fail)?;
                Ok(ext_show::link(link, &api.paths.fs))
            })
            .await?;
        audit::made_link(LinkId(link.id));
        audit::now(self.engine.summary_of_link(LinkId(link.id)));
        Ok(Response::new(wire::ChainAttachResponse { link: Some(link) }))
    }

    async fn attach_matching(&self, request: Request<wire::AttachMatchingRequest>) -> Reply<wire::Matching> {
        let mut request = chains_parse::matching(request.into_inner())?;
        let point = request.attach.point.type_name();
        audit::object(format_args!("program {} at {point} {:?}", request.attach.program, request.interfaces));
        let permit = self.authorize_match(&mut request)?;
        self.admit_match(&permit, &request.interfaces).await?;
        let most = permit.limits.links;
        let matching = self
            .change(&permit, move |api| {
                let matching = api.engine.attach_matching_within(&request, most).map_err(fail)?;
                Ok(chains_show::matching(matching, &api.paths.fs))
            })
            .await?;
        audit::made(format_args!("matching {}", matching.id));
        Ok(Response::new(matching))
    }

    async fn list_matching(
        &self,
        _: Request<wire::ListMatchingRequest>,
    ) -> Reply<wire::ListMatchingResponse> {
        let permit = self.authorize(&[])?;
        let matchings = self
            .read(&permit, |api| {
                let matchings = api.engine.list_matching().map_err(fail)?;
                Ok(matchings.into_iter().map(|one| chains_show::matching(one, &api.paths.fs)).collect())
            })
            .await?;
        Ok(Response::new(wire::ListMatchingResponse { matchings }))
    }

    async fn detach_matching(
        &self,
        request: Request<wire::DetachMatchingRequest>,
    ) -> Reply<wire::DetachMatchingResponse> {
        let id = MatchingId(request.into_inner().id);
        audit::matching(id);
        let permit = self.authorize_matching(id)?;
        let ended = self.change(&permit, move |api| api.engine.detach_matching(id).map_err(fail)).await?;
        Ok(Response::new(wire::DetachMatchingResponse { links_ended: ended as u32 }))
    }

    async fn list_strays(&self, _: Request<wire::ListStraysRequest>) -> Reply<wire::ListStraysResponse> {
        let permit = self.authorize(&[])?;
        let response = self
            .view(&permit, |api| {
                let strays = api.engine.strays().map_err(fail)?;
                let pins = api.engine.check_pins().err();
                Ok(wire::ListStraysResponse {
                    strays: strays.iter().map(|stray| strays::show(stray, &api.paths.fs)).collect(),
                    pins_problem: pins.map(|error| error.to_string()).unwrap_or_default(),
                })
            })
            .await?;
        Ok(Response::new(response))
    }

    async fn remove_stray(
        &self,
        request: Request<wire::RemoveStrayRequest>,
    ) -> Reply<wire::RemoveStrayResponse> {
        let pin = strays::pin(&request.into_inner().pin, &self.paths.fs)?;
        audit::object(format_args!("stray {}", pin.display()));
        let permit = self.authorize(&[])?;
        self.change(&permit, move |api| api.engine.remove_stray(&pin).map_err(fail)).await?;
        Ok(Response::new(wire::RemoveStrayResponse {}))
    }
}

impl<K: Kernel> Api<K> {
    /// Keeps the hook of a new link attached when it is empty. If that fails, detaches the link.
    fn keep(&self, request: &AttachRequest, link: LinkId, caller: &SwitchCaller<'_>) -> Result<(), Status> {
        let change = HookChange { keep_attached: Some(true), ..HookChange::default() };
        let kept = match request.point.hook() {
            Some((interface, kind)) => self.engine.set_hook(interface, kind, &change, caller).map(drop),
            None => Err(EngineError::Invalid("only chains are kept when they are empty".to_owned())),
        };
        kept.map_err(|error| match self.engine.detach(link) {
            Ok(()) => fail(error),
            Err(undo) => fail(EngineError::NotUndone {
                cause: Box::new(error),
                failures: vec![UndoFailure::new(Remainder::Attachment(link), undo)],
            }),
        })
    }

    fn look(&self, interface: &Interface, kind: HookKind) -> Result<HookView, Status> {
        let chain = match self.engine.show_chain(interface, kind) {
            Ok(view) => Some(view),
            Err(EngineError::NoChain { .. }) => None,
            Err(error) => return Err(fail(error)),
        };
        let entries = self.engine.hook_entries(interface, kind).map_err(fail)?;
        if chain.is_none() && entries.is_empty() {
            let hook = self.engine.show_chain(interface, kind).map(drop);
            return Err(hook.map_or_else(fail, |()| Status::aborted("the hook is changing: ask again")));
        }
        Ok(HookView { chain, entries })
    }

    async fn answer_replaced(
        &self,
        permit: &Permit,
        outcome: ReplaceOutcome,
    ) -> Reply<wire::ReplaceProgramResponse> {
        audit::programs(&outcome.programs);
        let replaced = move |api: &Self| {
            let program = outcome.programs.first().map(|program| api.whole(program)).transpose()?;
            Ok(chains_show::replaced(outcome, program))
        };
        Ok(Response::new(self.read(permit, replaced).await?))
    }

    fn family_of(&self, link: LinkId) -> Result<Option<VerdictFamily>, Status> {
        let link = self.engine.describe_link(link).map_err(fail)?;
        Ok(match link.program.program_type {
            ProgramType::Xdp => Some(VerdictFamily::Xdp),
            ProgramType::Tc => Some(VerdictFamily::Tc),
            _ => None,
        })
    }
}
