//! Service `bpfman.ext.v1.BpfmanNode`: facts that a node's agent needs and has no permission to find out by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bpfman_model::{ContainerFacts, ContainerId, FoundContainers, ProgramId, WantedContainers};
use bpfman_proto::ext::v1 as wire;
use bpfman_proto::ext::v1::bpfman_node_server::BpfmanNode;
use bpfmand_kernel::Kernel;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::event_stream::EventStream;
use crate::history_pages::HistoryStream;
use crate::run_sample::RunSample;
use crate::server::{Api, Reply, caller, fail};
use crate::{chains_parse, event_stream, examine, history, history_pages, node_dry_run, node_watch, status};

/// Maximum number of containers of one request: a node runs some hundred.
const MAX_CONTAINERS: usize = 1000;
const MAX_SAMPLED: usize = 1000;

#[tonic::async_trait]
impl<K: Kernel> BpfmanNode for Api<K> {
    async fn dry_run(&self, request: Request<wire::DryRunRequest>) -> Reply<wire::DryRunResponse> {
        let caller = caller(request.extensions())?;
        let mut request = node_dry_run::request(request.into_inner(), caller)?;
        let replaced: Vec<_> = request.replaces.iter().copied().collect();
        let (permit, _places) = self.authorize_load_replacing(&mut request.load, &replaced).await?;
        for attachment in &mut request.attachments {
            self.authorize_point(&attachment.point, &attachment.order).await?;
            attachment.reader = self.admit_point(&permit, &attachment.point).await?;
        }
        let image = self.prepare(&permit, &request.load.source).await;
        let response = self
            .change_with(&permit, image, move |api| {
                let outcome = api.engine.dry_run(&request).map_err(fail)?;
                Ok(node_dry_run::response(&outcome, &api.engine.kernel().features().release))
            })
            .await?;
        Ok(Response::new(response))
    }

    async fn replace_load(
        &self,
        request: Request<wire::ReplaceLoadRequest>,
    ) -> Reply<wire::ReplaceLoadResponse> {
        let caller = caller(request.extensions())?;
        Ok(Response::new(self.replace_whole_load(request.into_inner(), caller).await?))
    }

    async fn find_containers(
        &self,
        request: Request<wire::FindContainersRequest>,
    ) -> Reply<wire::FindContainersResponse> {
        let asked = request.into_inner().container_ids;
        if asked.len() > MAX_CONTAINERS {
            return Err(status::too_large(format!(
                "the request names {} containers; one request takes at most {MAX_CONTAINERS}",
                asked.len()
            )));
        }
        let ids = asked
            .iter()
            .map(|text| ContainerId::parse(text).map_err(|error| status::invalid(error.to_string())))
            .collect::<Result<Vec<_>, _>>()?;
        let permit = self.authorize(&[])?;
        let wanted = WantedContainers::new(ids.iter().cloned().collect::<BTreeSet<_>>());
        let found = match ids.is_empty() {
            true => FoundContainers::default(),
            false => {
                let find = move |api: &Self| api.engine.kernel().containers(&wanted);
                self.read(&permit, move |api| find(api).map_err(|error| fail(error.into()))).await?
            }
        };
        let known: BTreeMap<_, _> = found.containers.iter().map(|facts| (&facts.id, facts)).collect();
        let doubtful: BTreeMap<_, _> = found.ambiguous.iter().map(|one| (&one.id, one)).collect();
        let mut answer = wire::FindContainersResponse::default();
        for (asked, id) in asked.into_iter().zip(&ids) {
            if let Some(ambiguous) = doubtful.get(id) {
                let reason = ambiguous.to_string();
                answer.ambiguous.push(wire::AmbiguousContainer { container_id: asked, reason });
            } else if let Some(facts) = known.get(id) {
                answer.containers.push(container(asked, facts));
            }
        }
        Ok(Response::new(answer))
    }

    async fn find_network_namespace(
        &self,
        request: Request<wire::FindNetworkNamespaceRequest>,
    ) -> Reply<wire::NetworkNamespace> {
        let path = request.into_inner().path;
        node_watch::namespaces(vec![path.clone()])?;
        let file = PathBuf::from(&path);
        let permit = self.authorize(&[])?;
        self.admit_namespaces(&permit, [file.clone()]).await?;
        let asked = file.clone();
        let found = self.read(&permit, move |api| api.engine.find_network_namespace(&asked).map_err(fail));
        let (identity, interfaces) = found.await?;
        Ok(Response::new(wire::NetworkNamespace {
            path,
            inode: identity.inode,
            cookie: identity.cookie,
            interfaces: interfaces.iter().map(|one| node_watch::interface(Some(&file), one)).collect(),
        }))
    }

    async fn sample_runs(
        &self,
        request: Request<wire::SampleRunsRequest>,
    ) -> Reply<wire::SampleRunsResponse> {
        let request = request.into_inner();
        let Some(time) = chains_parse::sample(request.sample_ms)? else {
            return Err(status::invalid("runs cannot be counted over 0 ms: sample_ms sets for how long"));
        };
        if request.program_ids.len() > MAX_SAMPLED {
            return Err(status::too_large(format!(
                "the request names {} programs; one request takes at most {MAX_SAMPLED}",
                request.program_ids.len()
            )));
        }
        let programs: Vec<_> = request.program_ids.into_iter().map(ProgramId).collect();
        let permit = self.authorize(&[])?;
        let sample =
            self.read(&permit, move |api| RunSample::begin(&api.engine, &programs).map_err(fail)).await?;
        tokio::time::sleep(time).await;
        let runs = self.read(&permit, move |api| sample.end(&api.engine).map_err(fail)).await?;
        let programs = runs.into_iter().map(|(id, came)| wire::ProgramRuns {
            program_id: id.0,
            runs: came.runs,
            nanoseconds: came.nanoseconds,
            missed: came.missed,
        });
        Ok(Response::new(wire::SampleRunsResponse { programs: programs.collect() }))
    }

    type HistoryStream = HistoryStream;

    async fn history(&self, request: Request<wire::HistoryRequest>) -> Reply<Self::HistoryStream> {
        let asked = history::HistoryFilter::parse(request.into_inner())?;
        let permit = self.authorize(&[])?;
        let place = self.history_readers.enter(permit.account)?;
        let viewer = self.history_viewer()?;
        Ok(Response::new(history_pages::stream(self.clone(), permit, place, asked, viewer)))
    }

    type FollowEventsStream = EventStream;

    async fn follow_events(
        &self,
        request: Request<wire::FollowEventsRequest>,
    ) -> Reply<Self::FollowEventsStream> {
        Ok(Response::new(event_stream::stream(self.clone(), request.into_inner()).await?))
    }

    async fn examine(&self, _: Request<wire::ExamineRequest>) -> Reply<wire::ExamineResponse> {
        let permit = self.authorize(&[])?;
        let examined = self.view(&permit, |api| {
            let notes = examine::notes(&api.access.health(), api.engine.unbounded_programs());
            Ok(wire::ExamineResponse { findings: api.examined(), notes })
        });
        Ok(Response::new(examined.await?))
    }

    type WatchStream = ReceiverStream<Result<wire::WatchEvent, Status>>;

    async fn watch(&self, request: Request<wire::WatchRequest>) -> Reply<Self::WatchStream> {
        let asked = node_watch::namespaces(request.into_inner().netns)?;
        let permit = self.authorize(&[])?;
        self.admit_namespaces(&permit, asked.iter().cloned()).await?;
        let place =
            (self.watchers.enter(permit.account)?, self.watchers.follow(permit.account, asked.len())?);
        let events = node_watch::begin(self, &permit, asked, place).await?;
        Ok(Response::new(ReceiverStream::new(events)))
    }
}

fn container(asked: String, facts: &ContainerFacts) -> wire::Container {
    wire::Container {
        container_id: asked,
        // The kernel's largest PID is 2^22.
        pids: facts.pids.iter().map(|pid| pid.cast_signed()).collect(),
        netns: facts.netns.display().to_string(),
        netns_inode: facts.identity.inode,
        netns_cookie: facts.identity.cookie,
    }
}
