//! Resources that clients of the socket can take from the daemon and from each other.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, xdp};
use bpfman_tests::wait::{DEADLINE, until};
use bpfman_tests::{Daemon, Launch, Network, Wire};
use bytes::Bytes;
use http_body::{Body, Frame};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::{Service as _, ServiceExt as _};

use crate::equipment::Program;

const CONNECTIONS: usize = 30;
const REQUESTS: usize = 200;
const ANNOUNCED: usize = 256 << 10;
const SENT: usize = 255 << 10;

struct Endless {
    left: Option<Bytes>,
}

impl Endless {
    fn new() -> Self {
        let mut bytes = vec![0; 5 + SENT];
        bytes[1..5].copy_from_slice(&u32::try_from(ANNOUNCED).unwrap().to_be_bytes());
        Self { left: Some(bytes.into()) }
    }
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut().left.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Poll::Pending,
        }
    }
}

fn request<B>(body: B) -> http::Request<tonic::body::Body>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    http::Request::post("http://localhost/bpfman.v1.Bpfman/List")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(body))
        .unwrap()
}

async fn connect(socket: &Path) -> Channel {
    Endpoint::try_from(format!("unix:{}", socket.display())).unwrap().connect().await.unwrap()
}

async fn send(channel: &mut Channel, request: http::Request<tonic::body::Body>) -> Result<(), Status> {
    let ready = channel.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let answer = ready.call(request).await.map_err(|error| Status::unavailable(error.to_string()))?;
    Status::from_header_map(answer.headers()).filter(|status| status.code() != Code::Ok).map_or(Ok(()), Err)
}

pub fn memory(daemon: &Daemon, line: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[test]
fn endless_messages_hold_little_memory_and_block_no_caller() {
    const MAX_GROWTH: usize = 64 << 20;
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let list = || wire.list(v1::ListRequest { bpfman_programs_only: Some(true), ..Default::default() });
    list().unwrap();
    let before = memory(&daemon, "VmRSS");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let late = Arc::new(AtomicUsize::new(0));
    for _ in 0..CONNECTIONS {
        let channel = runtime.block_on(connect(&daemon.socket()));
        for _ in 0..REQUESTS {
            let (mut channel, late) = (channel.clone(), Arc::clone(&late));
            runtime.spawn(async move {
                let status = send(&mut channel, request(Endless::new())).await.unwrap_err();
                assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
                late.fetch_add(1, Ordering::SeqCst);
            });
        }
    }
    // The daemon waits for as many incomplete messages as one user may send, gives up, and starts with others.
    until("the first messages are given up", || {
        list().unwrap();
        late.load(Ordering::SeqCst) >= 32
    });
    list().unwrap();
    let held = memory(&daemon, "VmHWM") - before;
    assert!(held < MAX_GROWTH, "{CONNECTIONS} connections made the daemon hold {} MiB", held >> 20);
    daemon.bpfman("list programs").success();
    runtime.shutdown_background();
    until("the memory is given back", || memory(&daemon, "VmRSS") < before + (8 << 20));
    list().unwrap();
}

#[test]
fn malformed_message_is_refused_with_the_reason() {
    let daemon = Daemon::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut channel = runtime.block_on(connect(&daemon.socket()));
    let mut says = |bytes: &[u8], code: Code, words: &str| {
        let body = http_body_util::Full::new(Bytes::copy_from_slice(bytes));
        let status = runtime.block_on(send(&mut channel, request(body))).unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(words), "{status:?}");
    };
    says(&[0, 0, 0], Code::InvalidArgument, "in the middle of its length");
    says(&[0, 0, 0, 0, 9, 1], Code::InvalidArgument, "after 1 of 9 bytes");
    says(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Code::InvalidArgument, "more than one message");
    says(&[0, 0xff, 0xff, 0xff, 0xff], Code::OutOfRange, "4294967295 bytes");
    assert!(daemon.wire().list(v1::ListRequest::default()).is_ok());
}

#[test]
fn a_list_is_answered_while_many_wait_for_one_hook() {
    const CLIENTS: i32 = 200;
    let mut daemon = Daemon::prepare();
    let hold = daemon.path("hold");
    let environment = vec![("BPFMAN_TEST_HOLD".to_owned(), hold.display().to_string())];
    daemon.again(&Launch { environment, ..Launch::default() });
    let network = Network::new();
    let wire = daemon.wire();
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2).id;
    fs::write(&hold, "").unwrap();
    let threads = || fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().count();
    let idle = threads();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (socket, netns) = (daemon.socket(), network.far.path());
            std::thread::spawn(move || {
                let point = xdp(&netns, INTERFACE, 50 + number % 10, &[]);
                Wire::new(&socket).attach(attach(program, point))
            })
        })
        .collect();
    // The user's threads are all in use: one call holds the hook, and waits for this test.
    until("the hook's clients have threads", || threads() >= idle + 31);
    let (answered, answer) = std::sync::mpsc::channel();
    let reader = daemon.wire();
    std::thread::spawn(move || {
        let select = v1::ListRequest { bpfman_programs_only: Some(true), ..Default::default() };
        let programs = reader.list(select).map(|list| list.results.len());
        let links = reader.list_links(ext::ListLinksRequest::default()).map(|list| list.links.len());
        let program = reader.get(v1::GetRequest { id: program }).map(drop);
        answered.send((programs, links, program)).unwrap();
    });
    let (programs, links, program) = answer.recv_timeout(DEADLINE).expect("lists wait for no hook");
    assert_eq!((programs.unwrap(), links.unwrap()), (1, 0));
    program.unwrap();
    fs::remove_file(&hold).unwrap();
    let ends = clients.into_iter().map(|client| client.join().unwrap());
    let attached = ends.filter(|end| end.is_ok()).count();
    assert!(attached > 0, "the first that waited is attached");
    assert_eq!(wire.list_links(ext::ListLinksRequest::default()).unwrap().links.len(), attached);
}
