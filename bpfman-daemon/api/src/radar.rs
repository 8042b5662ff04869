//! Service `bpfman.ext.v1.BpfmanRadar`: third-party use of eBPF.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bpfman_model::uapi::{link_type, prog_type};
use bpfman_model::{BytecodeSource, Holder, KernelLinkId, LinkFacts, ProgramFacts, PullPolicy, Selector};
use bpfman_proto::ext::v1 as wire;
use bpfman_proto::ext::v1::bpfman_radar_server::BpfmanRadar;
use bpfman_proto::ext::v1::start_radar_request::Source;
use bpfmand_engine::OwnObjects;
use bpfmand_journal::ThirdPartyActor;
use bpfmand_kernel::Kernel;
use tonic::{Request, Response, Status};

use crate::radar_state::{RadarRefusal, RadarReport};
use crate::server::{Api, Reply, fail};
use crate::{audit, ext_show, status};

#[tonic::async_trait]
impl<K: Kernel> BpfmanRadar for Api<K> {
    async fn survey_radar(&self, _: Request<wire::SurveyRadarRequest>) -> Reply<wire::SurveyRadarResponse> {
        let permit = self.authorize(&[])?;
        let answer = self.view(&permit, Self::survey).await?;
        Ok(Response::new(answer))
    }

    async fn start_radar(
        &self,
        request: Request<wire::StartRadarRequest>,
    ) -> Reply<wire::StartRadarResponse> {
        let source = match request.into_inner().source {
            Some(Source::File(path)) if path.starts_with('/') => BytecodeSource::File(PathBuf::from(path)),
            Some(Source::File(path)) => {
                return Err(status::invalid(format!("the radar's object file \"{path}\" is not absolute")));
            }
            Some(Source::Image(url)) => {
                BytecodeSource::Image { url, pull_policy: PullPolicy::IfNotPresent, credentials: None }
            }
            None => {
                return Err(status::invalid("the request names neither a file nor an image for the radar"));
            }
        };
        audit::source(&source);
        let permit = self.authorize(&[])?;
        let image = self.prepare(&permit, &source).await;
        let status = self
            .change_with(&permit, image, move |api| {
                let control = api.radar_control.as_ref().ok_or_else(none)?;
                control.start(source).map_err(refused)?;
                Ok(shown(&api.radar.report()))
            })
            .await?;
        Ok(Response::new(wire::StartRadarResponse { status: Some(status) }))
    }

    async fn stop_radar(&self, _: Request<wire::StopRadarRequest>) -> Reply<wire::StopRadarResponse> {
        let permit = self.authorize(&[])?;
        self.change(&permit, |api| api.radar_control.as_ref().ok_or_else(none)?.stop().map_err(refused))
            .await?;
        Ok(Response::new(wire::StopRadarResponse {}))
    }
}

fn none() -> Status {
    status::unsupported("this daemon has no radar")
}

fn refused(refusal: RadarRefusal) -> Status {
    match refusal {
        RadarRefusal::Configured(_) => status::conflict(
            &format!("the radar cannot be switched by a call: {refusal}"),
            "change [radar] in bpfman.toml, and restart bpfmand",
        ),
        RadarRefusal::Failed(why) => status::failed(format!("the radar is not switched: {why}")),
    }
}

impl<K: Kernel> Api<K> {
    fn survey(&self) -> Result<wire::SurveyRadarResponse, Status> {
        let report = self.radar.report();
        let own = self.engine.own_objects().map_err(fail)?;
        let owners = self.object_owners();
        let holders =
            self.engine.kernel().all_holders().map_err(|error| status::failed(error.to_string()))?;
        let found = self.engine.list(&Selector::default()).map_err(fail)?;
        let programs = found
            .into_iter()
            .filter(|program| program.managed.is_none() && !own.programs.contains(&program.id))
            .filter_map(|program| program.facts)
            .map(|facts| wire::StrangeProgram {
                session: owners.of_program(facts.id.0),
                ..program(&facts, holders.programs.get(&facts.id.0), report.loaders.get(&facts.id.0))
            })
            .collect();
        let links = self.strange_links(&own)?;
        let mut hooks = self.engine.hooks_of_links(links.values());
        let links = links
            .values()
            .map(|facts| wire::StrangeLink {
                session: owners.of_link(facts.id.0),
                hook: hooks.remove(&facts.id).unwrap_or_default(),
                ..link(facts, holders.links.get(&facts.id.0), report.makers.get(&facts.id.0))
            })
            .collect();
        Ok(wire::SurveyRadarResponse { status: Some(shown(&report)), programs, links })
    }

    /// Returns links that the daemon does not manage. Those of sessions have an owner.
    pub(crate) fn links_of_others(&self) -> Result<Vec<wire::Link>, Status> {
        let (own, owners) = (self.engine.own_objects().map_err(fail)?, self.object_owners());
        let programs = self.engine.list(&Selector::default()).map_err(fail)?;
        let programs: BTreeMap<_, _> =
            programs.into_iter().filter_map(|program| Some((program.id, program.facts?))).collect();
        let links = self.strange_links(&own)?;
        let hooks = self.engine.hooks_of_links(links.values());
        let shown = |facts: &LinkFacts| {
            let program = programs.get(&facts.program);
            let index = facts.ifindex.map(|index| format!("interface {}", index.0));
            let at = hooks.get(&facts.id).cloned().or(index);
            let at = at.map(|at| format!(" at {at}")).unwrap_or_default();
            wire::Link {
                program_id: facts.program.0,
                program_name: program.map(|program| program.name.clone()).unwrap_or_default(),
                program_type: program
                    .map(|program| ext_show::kernel_type_name(program.kernel_type))
                    .unwrap_or_default(),
                attachment: format!("link of kernel type {}{at}", link_type::name(facts.kernel_type)),
                kernel_link_id: Some(facts.id.0),
                running_program_id: Some(facts.program.0),
                owner: owners.of_link(facts.id.0),
                ..wire::Link::default()
            }
        };
        Ok(links.values().map(shown).collect())
    }

    fn strange_links(&self, own: &OwnObjects) -> Result<BTreeMap<KernelLinkId, LinkFacts>, Status> {
        let failed = |error: bpfmand_kernel::KernelError| status::failed(error.to_string());
        let kernel = self.engine.kernel();
        let mut found = BTreeMap::new();
        for id in kernel.link_ids().map_err(failed)? {
            if own.links.contains_key(&id) {
                continue;
            }
            let Some(link) = kernel.open_link(id).map_err(failed)? else { continue };
            let Ok(facts) = kernel.link_of(&link) else { continue };
            if !own.programs.contains(&facts.program) {
                found.insert(id, facts);
            }
        }
        Ok(found)
    }
}

fn shown(report: &RadarReport) -> wire::RadarStatus {
    wire::RadarStatus {
        source: report.source.name().to_owned(),
        object: report.object.clone(),
        why: report.why.clone(),
        unseen: report.unseen.clone(),
        since: report.since.clone(),
        events: report.events,
        own: report.own,
        aggregated: report.aggregated,
        lost: report.lost,
        touched: report.touched.clone(),
    }
}

fn program(
    facts: &ProgramFacts,
    holders: Option<&Vec<Holder>>,
    loader: Option<&ThirdPartyActor>,
) -> wire::StrangeProgram {
    let name = prog_type::published_name(facts.kernel_type);
    wire::StrangeProgram {
        id: facts.id.0,
        name: facts.name.clone(),
        r#type: name.map_or_else(|| facts.kernel_type.to_string(), str::to_owned),
        tag: facts.tag_text(),
        loaded_at: humantime::format_rfc3339_seconds(facts.loaded_at).to_string(),
        uid: facts.created_by_uid,
        holders: holding(holders),
        loaded_by: loader.map(process),
        session: String::new(),
    }
}

fn link(
    facts: &LinkFacts,
    holders: Option<&Vec<Holder>>,
    maker: Option<&ThirdPartyActor>,
) -> wire::StrangeLink {
    wire::StrangeLink {
        id: facts.id.0,
        r#type: link_type::name(facts.kernel_type),
        program_id: facts.program.0,
        ifindex: facts.ifindex.map_or(0, |index| index.0),
        holders: holding(holders),
        made_by: maker.map(process),
        ..wire::StrangeLink::default()
    }
}

fn holding(holders: Option<&Vec<Holder>>) -> Vec<wire::ObjectHolder> {
    let shown = |holder: &Holder| wire::ObjectHolder {
        pid: holder.pid,
        command: holder.command.clone(),
        unit: holder.unit.clone().unwrap_or_default(),
    };
    holders.into_iter().flatten().map(shown).collect()
}

fn process(who: &ThirdPartyActor) -> wire::StrangeProcess {
    wire::StrangeProcess {
        uid: who.uid,
        pid: who.pid,
        command: who.command.clone(),
        executable: who.executable.clone(),
        unit: who.unit.clone(),
        pod: who.pod.clone(),
        container: who.container.clone(),
        gone: who.gone,
    }
}
