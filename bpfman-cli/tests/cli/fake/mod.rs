//! Server of all services that answers from a script.
#![allow(dead_code, clippy::unwrap_used, reason = "shared by several test programs")]

mod chains;

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::bpfman_chains_server::BpfmanChainsServer;
use bpfman_proto::ext::v1::bpfman_ext_server::{BpfmanExt, BpfmanExtServer};
use bpfman_proto::v1;
use bpfman_proto::v1::bpfman_server::{Bpfman, BpfmanServer};
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

#[derive(Clone, Default)]
pub struct Script {
    pub failure: Option<Status>,
    pub programs: Vec<ext::Program>,
    pub links: Vec<ext::Link>,
    pub chains: chains::Chains,
    pub log: String,
    pub load_failure: Option<ext::Failure>,
    pub is_older: bool,
    pub pull: Vec<ext::PullEvent>,
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn note(&self, request: &impl std::fmt::Debug) -> Result<(), Status> {
        self.asked.lock().unwrap().push(format!("{request:?}"));
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn load(&self) -> v1::LoadResponse {
        let of = |program: &ext::Program| v1::LoadResponseInfo {
            info: program.info.clone(),
            kernel_info: program.kernel_info.clone(),
        };
        v1::LoadResponse { programs: self.programs.iter().map(of).collect() }
    }
}

pub struct FakeDaemon {
    pub folder: tempfile::TempDir,
    pub socket: PathBuf,
    pub asked: Arc<Mutex<Vec<String>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeDaemon {
    pub fn start(script: Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("bpfman.sock");
        let asked = script.asked.clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let path = socket.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = UnixListener::bind(path).unwrap();
                ready.send(()).unwrap();
                Server::builder()
                    .add_service(BpfmanServer::new(script.clone()))
                    .add_service(BpfmanExtServer::new(script.clone()))
                    .add_service(BpfmanChainsServer::new(script))
                    .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async {
                        let _ = stopped.await;
                    })
                    .await
                    .unwrap();
            });
        });
        is_ready.recv().unwrap();
        Self { folder, socket, asked, stop: Some(stop), thread: Some(thread) }
    }

    pub fn run(&self, line: &str) -> Outcome {
        run(Command::new(env!("CARGO_BIN_EXE_bpfman"))
            .env("BPFMAN_SOCKET_PATH", &self.socket)
            .current_dir(self.folder.path())
            .args(line.split_whitespace()))
    }

    pub fn asked(&self) -> String {
        self.asked.lock().unwrap().join("\n")
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
        self.thread.take().map(JoinHandle::join);
    }
}

#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub fn run(command: &mut Command) -> Outcome {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: status.code().unwrap(), stdout: text(stdout), stderr: text(stderr) }
}

pub fn program(id: u32, name: &str) -> ext::Program {
    ext::Program {
        info: Some(v1::ProgramInfo {
            name: name.into(),
            map_pin_path: format!("/run/bpfman/fs/maps/{id}"),
            map_used_by: vec![id.to_string()],
            links: vec![id + 1000],
            metadata: [("bpfman_application".to_owned(), "shop".to_owned())].into(),
            ..Default::default()
        }),
        kernel_info: Some(v1::KernelProgramInfo {
            id,
            name: name.into(),
            program_type: 6,
            tag: "d796b57bdaf88123".into(),
            ..Default::default()
        }),
        program_type: "xdp".into(),
        state: "ok".into(),
        standing: ext::Standing::Running.into(),
        uid: u64::from(id) + 100,
        links: vec![link(id + 1000, id)],
        ..Default::default()
    }
}

pub fn link(id: u32, program_id: u32) -> ext::Link {
    let attach = v1::XdpAttachInfo { iface: "eth0".into(), priority: 50, ..Default::default() };
    ext::Link {
        id,
        program_id,
        program_name: "pass".into(),
        program_type: "xdp".into(),
        attachment: "eth0 pos-0".into(),
        attach_info: Some(v1::AttachInfo { info: Some(v1::attach_info::Info::XdpAttachInfo(attach)) }),
        position: Some(0),
        state: "ok".into(),
        standing: ext::Standing::Running.into(),
        hook: "xdp:eth0".into(),
        application: "shop".into(),
        ..Default::default()
    }
}

#[tonic::async_trait]
impl Bpfman for Script {
    async fn load(&self, request: Request<v1::LoadRequest>) -> Result<Response<v1::LoadResponse>, Status> {
        self.note(request.get_ref())?;
        Ok(Response::new(self.load()))
    }

    async fn unload(
        &self,
        request: Request<v1::UnloadRequest>,
    ) -> Result<Response<v1::UnloadResponse>, Status> {
        self.note(request.get_ref())?;
        Ok(Response::new(v1::UnloadResponse {}))
    }

    async fn attach(
        &self,
        request: Request<v1::AttachRequest>,
    ) -> Result<Response<v1::AttachResponse>, Status> {
        self.note(request.get_ref())?;
        Ok(Response::new(v1::AttachResponse { link_id: self.links[0].id }))
    }

    async fn detach(
        &self,
        request: Request<v1::DetachRequest>,
    ) -> Result<Response<v1::DetachResponse>, Status> {
        self.note(request.get_ref())?;
        Ok(Response::new(v1::DetachResponse {}))
    }

    async fn list(&self, _: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        Err(Status::unimplemented("the client lists by ListPrograms"))
    }

    async fn pull_bytecode(
        &self,
        _: Request<v1::PullBytecodeRequest>,
    ) -> Result<Response<v1::PullBytecodeResponse>, Status> {
        Err(Status::unimplemented("the client pulls by Pull"))
    }

    async fn get(&self, _: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        Err(Status::unimplemented("the client gets by GetProgram"))
    }
}

#[tonic::async_trait]
impl BpfmanExt for Script {
    type PullStream = tokio_stream::Iter<std::vec::IntoIter<Result<ext::PullEvent, Status>>>;

    async fn list_links(
        &self,
        request: Request<ext::ListLinksRequest>,
    ) -> Result<Response<ext::ListLinksResponse>, Status> {
        self.note(request.get_ref())?;
        Ok(Response::new(ext::ListLinksResponse { links: self.links.clone() }))
    }

    async fn get_link(
        &self,
        request: Request<ext::GetLinkRequest>,
    ) -> Result<Response<ext::GetLinkResponse>, Status> {
        self.note(request.get_ref())?;
        let wanted = request.get_ref().link_id;
        Ok(Response::new(ext::GetLinkResponse { link: self.links.iter().find(|l| l.id == wanted).cloned() }))
    }

    async fn get_chain(
        &self,
        request: Request<ext::GetChainRequest>,
    ) -> Result<Response<ext::GetChainResponse>, Status> {
        self.note(request.get_ref())?;
        Ok(Response::new(self.chains.shown.chain.clone().unwrap_or_default()))
    }

    async fn get_program(
        &self,
        request: Request<ext::GetProgramRequest>,
    ) -> Result<Response<ext::GetProgramResponse>, Status> {
        self.note(request.get_ref())?;
        let wanted = request.get_ref().id;
        let id = |program: &&ext::Program| program.kernel_info.as_ref().is_some_and(|k| k.id == wanted);
        Ok(Response::new(ext::GetProgramResponse { program: self.programs.iter().find(id).cloned() }))
    }

    async fn list_programs(
        &self,
        request: Request<ext::ListProgramsRequest>,
    ) -> Result<Response<ext::ListProgramsResponse>, Status> {
        self.note(request.get_ref())?;
        Ok(Response::new(ext::ListProgramsResponse { programs: self.programs.clone() }))
    }

    async fn load(
        &self,
        request: Request<ext::ExtLoadRequest>,
    ) -> Result<Response<ext::ExtLoadResponse>, Status> {
        self.note(request.get_ref())?;
        let verifier_logs = vec![self.log.clone(); self.programs.len().max(1)];
        let failure = self.load_failure.clone();
        let response = failure.is_none().then(|| Self::load(self));
        let knows = !self.is_older;
        Ok(Response::new(ext::ExtLoadResponse {
            response,
            verifier_logs,
            failure,
            budget_kept: knows,
            values_set: knows,
            lease_kept: knows,
        }))
    }

    async fn pull(&self, request: Request<ext::PullRequest>) -> Result<Response<Self::PullStream>, Status> {
        self.note(request.get_ref())?;
        let events: Vec<_> = self.pull.iter().cloned().map(Ok).collect();
        Ok(Response::new(tokio_stream::iter(events)))
    }

    type ReadIteratorStream =
        tokio_stream::Iter<std::vec::IntoIter<Result<ext::ReadIteratorResponse, Status>>>;

    async fn read_iterator(
        &self,
        request: Request<ext::ReadIteratorRequest>,
    ) -> Result<Response<Self::ReadIteratorStream>, Status> {
        self.note(request.get_ref())?;
        let text = ["one\n", "two\x1b[2J\n"].map(|text| text.as_bytes().to_vec());
        let pieces = text.map(|text| Ok(ext::ReadIteratorResponse { text })).to_vec();
        Ok(Response::new(tokio_stream::iter(pieces)))
    }

    type HoldLeaseStream = tokio_stream::Iter<std::vec::IntoIter<Result<ext::LeaseEvent, Status>>>;

    async fn hold_lease(
        &self,
        request: Request<ext::HoldLeaseRequest>,
    ) -> Result<Response<Self::HoldLeaseStream>, Status> {
        self.note(request.get_ref())?;
        Ok(Response::new(tokio_stream::iter(vec![Ok(ext::LeaseEvent { lease: 5 })])))
    }

    type ReadMapStream = tokio_stream::Iter<std::vec::IntoIter<Result<ext::ReadMapResponse, Status>>>;

    async fn read_map(
        &self,
        request: Request<ext::ReadMapRequest>,
    ) -> Result<Response<Self::ReadMapStream>, Status> {
        self.note(request.get_ref())?;
        let reading = ext::ReadMapResponse { last: true, ..Default::default() };
        Ok(Response::new(tokio_stream::iter(vec![Ok(reading)])))
    }

    type FollowPrintsStream =
        tokio_stream::Iter<std::vec::IntoIter<Result<ext::FollowPrintsResponse, Status>>>;

    async fn follow_prints(
        &self,
        request: Request<ext::FollowPrintsRequest>,
    ) -> Result<Response<Self::FollowPrintsStream>, Status> {
        self.note(request.get_ref())?;
        Ok(Response::new(tokio_stream::iter(Vec::new())))
    }

    async fn features(
        &self,
        request: Request<ext::FeaturesRequest>,
    ) -> Result<Response<ext::FeaturesResponse>, Status> {
        self.note(request.get_ref())?;
        let feature =
            |kind: ext::FeatureKind, name: &str, state: ext::FeatureState, detail: &str| ext::Feature {
                kind: kind.into(),
                name: name.into(),
                state: state.into(),
                detail: detail.into(),
                ..Default::default()
            };
        use ext::{FeatureKind as Kind, FeatureState as State};
        let features = vec![
            feature(Kind::Probe, "tcx", State::SwitchedOff, "type tcx is refused"),
            feature(Kind::Type, "xdp", State::There, ""),
            feature(Kind::MapType, "arena", State::Missing, ""),
            ext::Feature {
                program_types: vec!["xdp".into(), "sched_cls".into()],
                ..feature(Kind::Helper, "bpf_redirect", State::There, "")
            },
        ];
        let (kernel_release, architecture) = ("6.1.0".into(), "x86_64".into());
        Ok(Response::new(ext::FeaturesResponse { kernel_release, architecture, features }))
    }

    async fn info(&self, request: Request<ext::InfoRequest>) -> Result<Response<ext::InfoResponse>, Status> {
        self.note(request.get_ref())?;
        Ok(Response::new(ext::InfoResponse { version: "9.9.9".into(), ..Default::default() }))
    }
}
