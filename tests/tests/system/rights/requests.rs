//! Calls by name, on given objects.

use std::fmt::Debug;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::bpfman_access_client::BpfmanAccessClient;
use bpfman_proto::ext::v1::bpfman_chains_client::BpfmanChainsClient;
use bpfman_proto::ext::v1::bpfman_ext_client::BpfmanExtClient;
use bpfman_proto::ext::v1::bpfman_figures_client::BpfmanFiguresClient;
use bpfman_proto::ext::v1::bpfman_images_client::BpfmanImagesClient;
use bpfman_proto::ext::v1::bpfman_map_entries_client::BpfmanMapEntriesClient;
use bpfman_proto::ext::v1::bpfman_node_client::BpfmanNodeClient;
use bpfman_proto::ext::v1::bpfman_radar_client::BpfmanRadarClient;
use bpfman_proto::ext::v1::bpfman_sessions_client::BpfmanSessionsClient;
use bpfman_proto::handover::{LENGTH, PREFACE, frame};
use bpfman_proto::v1;
use bpfman_proto::v1::bpfman_client::BpfmanClient;
use bpfman_tests::requests::{attach, file, image, xdp};
use prost::Message as _;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status, Streaming};

use super::things::{Things, one_program};

pub struct Called(pub Channel);

/// Next value for a map: each write stores another one.
static WRITTEN: AtomicU64 = AtomicU64::new(1 << 40);

pub fn called<T, F: Future<Output = Result<T, Status>>>(
    socket: &Path,
    call: impl FnOnce(Called) -> F,
) -> Result<T, Status> {
    // The runtime uses this thread only, so that the daemon sees its user.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::try_from(format!("unix:{}", socket.display())).unwrap();
        let channel = endpoint.connect().await.map_err(|error| Status::unavailable(format!("{error:?}")))?;
        call(Called(channel)).await
    })
}

fn shown<T: Debug>(answer: Response<T>) -> String {
    format!("{:?}", answer.into_inner())
}

/// Returns the first message of a stream, or an empty text if the stream sends none before a change.
async fn begun<T: Debug>(stream: Response<Streaming<T>>) -> Result<String, Status> {
    let wait = std::time::Duration::from_millis(300);
    let first = tokio::time::timeout(wait, stream.into_inner().message()).await;
    first.map_or(Ok(String::new()), |first| first.map(|first| format!("{first:?}")))
}

async fn ended<T: Debug>(stream: Response<Streaming<T>>) -> Result<String, Status> {
    let (mut stream, mut last) = (stream.into_inner(), String::new());
    while let Some(message) = stream.message().await? {
        last = format!("{message:?}");
    }
    Ok(last)
}

impl Called {
    pub async fn load(self, request: v1::LoadRequest) -> Result<v1::LoadResponse, Status> {
        BpfmanClient::new(self.0).load(request).await.map(Response::into_inner)
    }

    pub async fn unload(self, request: v1::UnloadRequest) -> Result<v1::UnloadResponse, Status> {
        BpfmanClient::new(self.0).unload(request).await.map(Response::into_inner)
    }

    pub async fn attach(self, request: v1::AttachRequest) -> Result<v1::AttachResponse, Status> {
        BpfmanClient::new(self.0).attach(request).await.map(Response::into_inner)
    }

    pub async fn attach_matching(self, request: ext::AttachMatchingRequest) -> Result<ext::Matching, Status> {
        BpfmanChainsClient::new(self.0).attach_matching(request).await.map(Response::into_inner)
    }
}

pub fn make(socket: &Path, call: &str, on: &Things) -> Result<String, Status> {
    let (service, name) = call.rsplit_once('/').unwrap();
    let service = service.rsplit_once('.').unwrap().1;
    if service == "BpfmanMaps" {
        return open_map(socket, name == "OpenForWriting", on.map);
    }
    if call.ends_with("BpfmanSessions/Start") {
        return hand_over(
            socket,
            ext::handover_request::Call::StartSession(ext::StartSessionRequest::default()),
        );
    }
    called(socket, |Called(channel)| async move {
        match service {
            "Bpfman" => published(BpfmanClient::new(channel), name, on).await,
            "BpfmanExt" => extended(BpfmanExtClient::new(channel), name, on).await,
            "BpfmanChains" => chains(BpfmanChainsClient::new(channel), name, on).await,
            "BpfmanMapEntries" => map_entries(BpfmanMapEntriesClient::new(channel), name, on).await,
            "BpfmanImages" => images(BpfmanImagesClient::new(channel), name, on).await,
            "BpfmanNode" => node(BpfmanNodeClient::new(channel), name, on).await,
            "BpfmanRadar" => radar(BpfmanRadarClient::new(channel), name, on).await,
            "BpfmanAccess" => access(BpfmanAccessClient::new(channel), name).await,
            "BpfmanSessions" => {
                let mut sessions = BpfmanSessionsClient::new(channel);
                if name == "Remove" {
                    let request = ext::RemoveSessionRequest { name: "none".to_owned() };
                    return sessions.remove(request).await.map(shown);
                }
                sessions.list(ext::ListSessionsRequest {}).await.map(shown)
            }
            "BpfmanFigures" => {
                let request = ext::FollowFiguresRequest { interval_ms: 1000, ..Default::default() };
                begun(BpfmanFiguresClient::new(channel).follow_figures(request).await?).await
            }
            _ => unwritten(call),
        }
    })
}

fn unwritten(call: &str) -> ! {
    panic!("this test has no request for the call {call}: write one, so that its rights are tried")
}

fn hook(on: &Things) -> Option<ext::Hook> {
    let netns = on.netns.display().to_string();
    Some(ext::Hook { kind: "xdp".to_owned(), iface: on.hook.clone(), netns, ..Default::default() })
}

fn a_load(on: &Things) -> v1::LoadRequest {
    let mut request = one_program(&on.file, on.application.as_ref());
    request.info[0].program_type = on.program_type.into();
    request.map_owner_id = on.map_owner;
    if let Some(program) = on.extended {
        let target = v1::FentryLoadInfo { fn_name: format!("{program}:judge") };
        request.info[0].program_type = ext::ProgramTypeNumber::Freplace.into();
        let info = Some(v1::prog_specific_info::Info::FentryLoadInfo(target));
        request.info[0].info = Some(v1::ProgSpecificInfo { info });
    }
    request
}

fn point(on: &Things) -> Option<v1::AttachInfo> {
    attach(on.program, xdp(&on.netns, &on.interface, on.priority, &[])).attach
}

async fn published(mut client: BpfmanClient<Channel>, name: &str, on: &Things) -> Result<String, Status> {
    let image = Some(image(&on.image, 0));
    match name {
        "Load" => client.load(a_load(on)).await.map(shown),
        "Unload" => client.unload(v1::UnloadRequest { id: on.program }).await.map(shown),
        "Attach" => client.attach(v1::AttachRequest { id: on.program, attach: point(on) }).await.map(shown),
        "Detach" => client.detach(v1::DetachRequest { link_id: on.link }).await.map(shown),
        "List" => client.list(v1::ListRequest::default()).await.map(shown),
        "Get" => client.get(v1::GetRequest { id: on.program }).await.map(shown),
        "PullBytecode" => client.pull_bytecode(v1::PullBytecodeRequest { image }).await.map(shown),
        _ => unwritten(name),
    }
}

async fn extended(mut client: BpfmanExtClient<Channel>, name: &str, on: &Things) -> Result<String, Status> {
    match name {
        "ListLinks" => client.list_links(ext::ListLinksRequest::default()).await.map(shown),
        "GetLink" => client.get_link(ext::GetLinkRequest { link_id: on.link }).await.map(shown),
        "GetChain" => client.get_chain(ext::GetChainRequest { hook: hook(on) }).await.map(shown),
        "GetProgram" => client.get_program(ext::GetProgramRequest { id: on.program }).await.map(shown),
        "ListPrograms" => client.list_programs(ext::ListProgramsRequest::default()).await.map(shown),
        "Load" => client
            .load(ext::ExtLoadRequest { request: Some(a_load(on)), ..Default::default() })
            .await
            .map(shown),
        "Pull" => {
            let request = ext::PullRequest { image: Some(image(&on.image, 0)), want_object: false };
            ended(client.pull(request).await?).await
        }
        "ReadIterator" => {
            begun(client.read_iterator(ext::ReadIteratorRequest { link_id: on.link }).await?).await
        }
        "HoldLease" => begun(client.hold_lease(ext::HoldLeaseRequest {}).await?).await,
        "ReadMap" => {
            let program_id = on.map_owner.unwrap_or(on.program);
            let request = ext::ReadMapRequest { program_id, map: "hits".to_owned(), interval_ms: 0 };
            begun(client.read_map(request).await?).await
        }
        "FollowPrints" => client.follow_prints(ext::FollowPrintsRequest::default()).await.map(shown),
        "Info" => client.info(ext::InfoRequest {}).await.map(shown),
        "Features" => client.features(ext::FeaturesRequest {}).await.map(shown),
        _ => unwritten(name),
    }
}

async fn chains(mut client: BpfmanChainsClient<Channel>, name: &str, on: &Things) -> Result<String, Status> {
    let (hook, program_id) = (hook(on), on.program);
    match name {
        "Attach" => {
            let at = Things {
                interface: if on.keeps_hook { on.hook.clone() } else { on.interface.clone() },
                ..on.clone()
            };
            let keep_attached = on.keeps_hook;
            let attach = point(&at);
            let request = ext::ChainAttachRequest { program_id, attach, keep_attached, ..Default::default() };
            client.attach(request).await.map(shown)
        }
        "UpdateLink" => {
            let (link_id, priority) = (on.link, Some(on.priority + 1));
            client
                .update_link(ext::UpdateLinkRequest { link_id, priority, ..Default::default() })
                .await
                .map(shown)
        }
        "ReplaceProgram" => {
            let bytecode = Some(file(&on.file));
            let request = ext::ReplaceProgramRequest { program_id, bytecode, ..Default::default() };
            client.replace_program(request).await.map(shown)
        }
        "RollbackProgram" => {
            client.rollback_program(ext::RollbackProgramRequest { program_id }).await.map(shown)
        }
        "ShowChain" => client.show_chain(ext::ShowChainRequest { hook, sample_ms: 0 }).await.map(shown),
        "ListHooks" => client.list_hooks(ext::ListHooksRequest {}).await.map(shown),
        "Explain" => client.explain(ext::ExplainRequest { hook, ..Default::default() }).await.map(shown),
        "VerifyChain" => client.verify_chain(ext::VerifyChainRequest { hook }).await.map(shown),
        "TraceChain" => {
            let packets = vec![ext::TracePacket { data: vec![0; 64], mark: 0 }];
            client.trace_chain(ext::TraceChainRequest { hook, packets, for_real: false }).await.map(shown)
        }
        "SetHook" => {
            let request = ext::SetHookRequest { hook, as_subprograms: Some(true), ..Default::default() };
            client.set_hook(request).await.map(shown)
        }
        "TimeMembers" => {
            begun(client.time_members(ext::TimeMembersRequest { hook, ..Default::default() }).await?).await
        }
        "Adopt" => {
            let what = Some(ext::adopt_request::What::PinPath(on.file.display().to_string()));
            let metadata = one_program(&on.file, on.application.as_ref()).metadata;
            let priority = on.priority;
            client
                .adopt(ext::AdoptRequest { what, priority, metadata, ..Default::default() })
                .await
                .map(shown)
        }
        "AttachMatching" => {
            let names = vec![on.interface.clone()];
            let r#match = Some(ext::InterfaceMatch { names, ..Default::default() });
            let attach = attach(on.program, xdp(Path::new(""), "", on.priority, &[])).attach;
            let request = ext::AttachMatchingRequest { program_id, attach, r#match, ..Default::default() };
            client.attach_matching(request).await.map(shown)
        }
        "ListMatching" => client.list_matching(ext::ListMatchingRequest {}).await.map(shown),
        "DetachMatching" => {
            client.detach_matching(ext::DetachMatchingRequest { id: on.matching }).await.map(shown)
        }
        "ListStrays" => client.list_strays(ext::ListStraysRequest {}).await.map(shown),
        "RemoveStray" => client
            .remove_stray(ext::RemoveStrayRequest { pin: on.pin.display().to_string() })
            .await
            .map(shown),
        _ => unwritten(name),
    }
}

async fn map_entries(
    mut client: BpfmanMapEntriesClient<Channel>,
    name: &str,
    on: &Things,
) -> Result<String, Status> {
    let map = Some(ext::NamedMap { map: Some(ext::named_map::Map::MapId(on.map)) });
    let (key, value) = (vec![0; 4], WRITTEN.fetch_add(1, Ordering::Relaxed).to_ne_bytes().to_vec());
    match name {
        "ListMaps" => client.list_maps(ext::ListMapsRequest::default()).await.map(shown),
        "DescribeMap" => client.describe_map(ext::DescribeMapRequest { map }).await.map(shown),
        "DumpMap" => begun(client.dump_map(ext::DumpMapRequest { map }).await?).await,
        "GetMapEntry" => client.get_map_entry(ext::GetMapEntryRequest { map, key }).await.map(shown),
        "SetMapEntry" => {
            client.set_map_entry(ext::SetMapEntryRequest { map, key, value, condition: 0 }).await.map(shown)
        }
        "DeleteMapEntries" => {
            let request = ext::DeleteMapEntriesRequest { map, keys: vec![key] };
            client.delete_map_entries(request).await.map(shown)
        }
        _ => unwritten(name),
    }
}

async fn images(mut client: BpfmanImagesClient<Channel>, name: &str, on: &Things) -> Result<String, Status> {
    match name {
        "ListImages" => client.list_images(ext::ListImagesRequest::default()).await.map(shown),
        "InspectImage" => {
            client.inspect_image(ext::InspectImageRequest { image: on.image.clone() }).await.map(shown)
        }
        "VerifyImage" => {
            let request = ext::VerifyImageRequest { image: Some(image(&on.image, 0)) };
            client.verify_image(request).await.map(shown)
        }
        "PruneImages" => {
            client.prune_images(ext::PruneImagesRequest { unused_seconds: 1 << 30 }).await.map(shown)
        }
        "ImportImages" => {
            let path = on.file.with_extension("no-layout").display().to_string();
            client.import_images(ext::ImportImagesRequest { path, name: String::new() }).await.map(shown)
        }
        "CheckProvenance" => client.check_provenance(ext::CheckProvenanceRequest {}).await.map(shown),
        _ => unwritten(name),
    }
}

async fn node(mut client: BpfmanNodeClient<Channel>, name: &str, on: &Things) -> Result<String, Status> {
    let netns = on.netns.display().to_string();
    match name {
        "DryRun" => {
            let attachment = ext::DryRunAttachment {
                program: "xdp_member".to_owned(),
                attach: point(on),
                ..Default::default()
            };
            let attachments = if on.extended.is_some() { Vec::new() } else { vec![attachment] };
            let request = ext::DryRunRequest { load: Some(a_load(on)), attachments, ..Default::default() };
            client.dry_run(request).await.map(shown)
        }
        "ReplaceLoad" => {
            let load = Some(a_load(&Things { extended: None, ..on.clone() }));
            let program_ids = vec![on.program];
            let request = ext::ReplaceLoadRequest { program_ids, load, ..Default::default() };
            client.replace_load(request).await.map(shown)
        }
        "FindContainers" => client.find_containers(ext::FindContainersRequest::default()).await.map(shown),
        "FindNetworkNamespace" => {
            let request = ext::FindNetworkNamespaceRequest { path: netns };
            client.find_network_namespace(request).await.map(shown)
        }
        "SampleRuns" => {
            let request = ext::SampleRunsRequest { program_ids: vec![on.program], sample_ms: 1 };
            client.sample_runs(request).await.map(shown)
        }
        "Watch" => client.watch(ext::WatchRequest { netns: vec![netns] }).await.map(shown),
        "History" => begun(client.history(ext::HistoryRequest::default()).await?).await,
        "FollowEvents" => begun(client.follow_events(ext::FollowEventsRequest::default()).await?).await,
        "Examine" => client.examine(ext::ExamineRequest {}).await.map(shown),
        _ => unwritten(name),
    }
}

async fn radar(mut client: BpfmanRadarClient<Channel>, name: &str, on: &Things) -> Result<String, Status> {
    match name {
        "SurveyRadar" => client.survey_radar(ext::SurveyRadarRequest {}).await.map(shown),
        "StartRadar" => {
            let source = Some(ext::start_radar_request::Source::File(on.file.display().to_string()));
            client.start_radar(ext::StartRadarRequest { source }).await.map(shown)
        }
        "StopRadar" => client.stop_radar(ext::StopRadarRequest::default()).await.map(shown),
        _ => unwritten(name),
    }
}

async fn access(mut client: BpfmanAccessClient<Channel>, name: &str) -> Result<String, Status> {
    match name {
        "WhoAmI" => client.who_am_i(ext::WhoAmIRequest {}).await.map(shown),
        "CanI" => {
            let request = ext::CanIRequest { verb: "read".to_owned(), object: String::new() };
            client.can_i(request).await.map(shown)
        }
        _ => unwritten(name),
    }
}

fn open_map(socket: &Path, write: bool, map: u32) -> Result<String, Status> {
    use ext::handover_request::Call;
    let asked = ext::OpenMapRequest { map: Some(ext::open_map_request::Map::MapId(map)) };
    let call = if write { Call::OpenForWriting(asked) } else { Call::OpenForReading(asked) };
    hand_over(socket, call)
}

fn hand_over(socket: &Path, call: ext::handover_request::Call) -> Result<String, Status> {
    use ext::handover_answer::Answer;
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(PREFACE).unwrap();
    stream.write_all(&frame(&ext::HandoverRequest { call: Some(call) })).unwrap();
    let mut length = [0; LENGTH];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    match ext::HandoverAnswer::decode(&answer[..]).unwrap().answer.unwrap() {
        Answer::Opened(opened) => Ok(format!("{opened:?}")),
        Answer::Session(session) => Ok(format!("{session:?}")),
        Answer::Failure(failure) => Err(Status::new(Code::from_i32(failure.code), failure.message)),
    }
}
