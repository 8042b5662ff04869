//! Stream of the journal: each entry arrives once and in order; a slow client learns of its gap, and delays no other.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use bpfman_model::Peer;
use bpfman_proto::REASON_TRAILER;
use bpfman_proto::ext::v1 as wire;
use bpfman_proto::ext::v1::bpfman_node_client::BpfmanNodeClient;
use bpfman_proto::ext::v1::bpfman_node_server::BpfmanNodeServer;
use bpfmand_access::{AccessPolicy, SocketGroup};
use bpfmand_api::{AccessSource, Api, FixedPeerLayer, Paths};
use bpfmand_engine::{Engine, EngineOptions, NoImages, SCHEMA};
use bpfmand_journal::{EntryActor, HistoryEntry, Journal, JournalSettings};
use bpfmand_kernel::sim::{SimKernel, SimOptions};
use bpfmand_store::{Store, StoreOptions};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio_stream::iter;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status, Streaming};

const ADA: u32 = 1000;

type Node = BpfmanNodeClient<Channel>;

struct Served {
    api: Api<SimKernel>,
    journal: Arc<Journal>,
    policy: Arc<ChangingPolicy>,
    _folder: TempDir,
}

#[derive(Default)]
struct ChangingPolicy(Mutex<Arc<AccessPolicy>>);

impl AccessSource for ChangingPolicy {
    fn policy(&self) -> Arc<AccessPolicy> {
        Arc::clone(&self.0.lock().unwrap())
    }
}

fn api(folder: &Path) -> Api<SimKernel> {
    let store = Store::open(StoreOptions::new(folder.join("store"), SCHEMA)).unwrap();
    let options = EngineOptions::new(folder.join("bytecode"), store);
    let engine = Engine::open(Arc::new(SimKernel::new(SimOptions::default())), options).unwrap();
    let paths = Paths { fs: folder.join("fs"), runtime: folder.to_owned(), state: folder.to_owned() };
    Api::new(Arc::new(engine), Arc::new(NoImages), paths)
}

impl Served {
    fn with(entries: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = JournalSettings { entries, ..JournalSettings::new(folder.path().join("journal")) };
        let (journal, policy) =
            (Arc::new(Journal::open(settings).unwrap()), Arc::<ChangingPolicy>::default());
        let api = api(folder.path()).with_journal(Arc::clone(&journal)).with_access(Arc::clone(&policy) as _);
        Self { api, journal, policy, _folder: folder }
    }

    /// Starts another daemon on the journal's files, with this number of lines on disk.
    fn after_power_loss(self, lines: usize) -> Self {
        let folder = self._folder;
        let journal = folder.path().join("journal");
        let files = std::fs::read_dir(&journal).unwrap().map(|file| file.unwrap().path());
        let file = files.filter(|path| path.extension().is_some_and(|kind| kind == "jsonl")).max().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.split_inclusive('\n').take(lines).collect::<String>()).unwrap();
        let journal = Arc::new(Journal::open(JournalSettings::new(journal)).unwrap());
        let policy = Arc::<ChangingPolicy>::default();
        let next = folder.path().join("next");
        std::fs::create_dir(&next).unwrap();
        let api = api(&next).with_journal(Arc::clone(&journal)).with_access(Arc::clone(&policy) as _);
        Self { api, journal, policy, _folder: folder }
    }

    async fn client(&self, uid: u32) -> Node {
        client(self.api.clone(), uid).await
    }

    async fn write(&self, uid: u32, owner: &str) {
        let by = EntryActor::of(&Peer { uid, pid: Some(7), ..Peer::default() });
        let owners = vec![owner.to_owned()];
        let (verb, object) = ("Attach".to_owned(), "x".repeat(400));
        let entry = HistoryEntry { by, verb, object, owners, ..HistoryEntry::default() };
        let (told, written) = tokio::sync::oneshot::channel();
        self.journal.record(entry, Some(Box::new(move || told.send(()).unwrap())));
        written.await.unwrap();
    }
}

async fn client(api: Api<SimKernel>, uid: u32) -> Node {
    let (near, far) = UnixStream::pair().unwrap();
    let server = Server::builder()
        .layer(FixedPeerLayer(Peer { uid, ..Peer::default() }))
        .add_service(BpfmanNodeServer::new(api));
    tokio::spawn(server.serve_with_incoming(iter([Ok::<_, std::io::Error>(far)])));
    let mut near = Some(near);
    let connect = tower::service_fn(move |_| {
        let near = near.take().ok_or(std::io::ErrorKind::NotConnected);
        async move { Ok::<_, std::io::Error>(TokioIo::new(near?)) }
    });
    // Defaults of HTTP/2: hyper's 2 MiB would hold everything that a test writes.
    let endpoint = Endpoint::from_static("http://localhost")
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535);
    BpfmanNodeClient::new(endpoint.connect_with_connector(connect).await.unwrap())
}

async fn follow(node: &mut Node, request: wire::FollowEventsRequest) -> Result<Events, Status> {
    let stream = node.follow_events(request).await?.into_inner();
    let mut events = Events { stream, lines: Vec::new(), missed: Vec::new(), position: 0, newest: 0 };
    events.read().await?;
    Ok(events)
}

struct Events {
    stream: Streaming<wire::FollowEventsResponse>,
    lines: Vec<wire::JournalLine>,
    missed: Vec<(u64, u64)>,
    position: u64,
    newest: u64,
}

impl Events {
    async fn read(&mut self) -> Result<bool, Status> {
        let Some(page) = self.stream.message().await? else { return Ok(false) };
        self.missed.extend(page.missed.map(|gap| (gap.first, gap.last)));
        self.lines.extend(page.entries);
        (self.position, self.newest) = (page.position, page.newest);
        Ok(true)
    }

    async fn read_to(&mut self, position: u64) {
        while self.position < position {
            assert!(self.read().await.unwrap(), "it ended at {}", self.position);
        }
    }

    fn numbers(&self) -> Vec<u64> {
        self.lines.iter().map(|line| line.number).collect()
    }
}

fn all_kept() -> wire::FollowEventsRequest {
    wire::FollowEventsRequest { after: Some(0), ..Default::default() }
}

fn reason(status: &Status) -> &str {
    status.metadata().get(REASON_TRAILER).unwrap().to_str().unwrap()
}

#[tokio::test]
async fn each_entry_comes_once_and_in_order_to_whom_it_concerns() {
    let served = Served::with(1000);
    for uid in [0, ADA, 0] {
        served.write(uid, "root").await;
    }
    let mut root = follow(&mut served.client(0).await, wire::FollowEventsRequest::default()).await.unwrap();
    assert_eq!((root.position, root.lines.len()), (3, 0), "from now on");
    let mut ada = follow(&mut served.client(ADA).await, all_kept()).await.unwrap();
    ada.read_to(3).await;
    served.write(0, "user:1000").await;
    served.write(0, "root").await;
    served.write(ADA, "user:1000").await;
    root.read_to(6).await;
    ada.read_to(6).await;
    assert_eq!((root.numbers(), ada.numbers()), (vec![4, 5, 6], vec![2, 4, 6]));
    assert_eq!((root.missed.len(), ada.missed.len()), (0, 0), "what is not hers is no gap");
    let pids: Vec<u32> = ada.lines.iter().map(|line| line.pid).collect();
    assert_eq!(pids, [7, 0, 7], "others' processes are root's to know");
}

#[tokio::test]
async fn stream_begins_at_the_requested_entry_and_ends_with_the_last() {
    let served = Served::with(1000);
    for round in 0..500 {
        served.write(round % 2, "root").await;
    }
    let mut node = served.client(0).await;
    let mut numbers = async |request: wire::FollowEventsRequest| {
        let mut events =
            follow(&mut node, wire::FollowEventsRequest { until_now: true, ..request }).await.unwrap();
        while events.read().await.unwrap() {}
        assert_eq!((events.position, events.newest), (500, 500));
        events.numbers()
    };
    let request = wire::FollowEventsRequest::default;
    assert_eq!(numbers(all_kept()).await, (1..=500).collect::<Vec<_>>());
    assert_eq!(numbers(request()).await, [0; 0]);
    assert_eq!(numbers(wire::FollowEventsRequest { after: Some(498), ..request() }).await, [499, 500]);
    assert_eq!(
        numbers(wire::FollowEventsRequest { newest: 2, by: "1".to_owned(), ..request() }).await,
        [498, 500]
    );
    let both = wire::FollowEventsRequest { newest: 9, after: Some(499), ..request() };
    assert_eq!(numbers(both).await, [500]);
    let long = wire::FollowEventsRequest { newest: u32::MAX, ..request() };
    assert_eq!(numbers(long).await.len(), 500);
    let since = |since: &str| wire::FollowEventsRequest { since: since.to_owned(), ..request() };
    assert_eq!(numbers(since("2001-01-01T00:00:00Z")).await.len(), 500);
    assert_eq!(numbers(since("2999-01-01T00:00:00Z")).await, [0; 0]);
    let denied = wire::FollowEventsRequest { results: vec!["denied".to_owned()], ..all_kept() };
    assert_eq!(numbers(denied).await, [0; 0]);
    let wrong = wire::FollowEventsRequest { results: vec!["\u{202e}".to_owned()], ..all_kept() };
    assert_eq!(reason(&follow(&mut served.client(0).await, wrong).await.err().unwrap()), "invalid");
}

#[tokio::test]
async fn slow_client_delays_no_other_and_learns_of_its_gap() {
    let served = Served::with(80);
    let mut silent = follow(&mut served.client(0).await, wire::FollowEventsRequest::default()).await.unwrap();
    let mut other = follow(&mut served.client(0).await, wire::FollowEventsRequest::default()).await.unwrap();
    for number in 1..=3000 {
        served.write(0, "root").await;
        other.read_to(number).await;
    }
    assert_eq!(other.numbers(), (1..=3000).collect::<Vec<_>>());
    silent.read_to(3000).await;
    let mut told: Vec<u64> = silent.numbers();
    assert!(!silent.missed.is_empty(), "the journal keeps 80");
    told.extend(silent.missed.iter().flat_map(|(first, last)| *first..=*last));
    told.sort_unstable();
    assert_eq!(
        told,
        (1..=3000).collect::<Vec<_>>(),
        "each number came, or is told to be missed, and none twice"
    );
}

#[tokio::test]
async fn user_has_a_limit_of_streams_and_a_closed_one_frees_a_place() {
    let served = Served::with(100);
    let mut ada = served.client(ADA).await;
    let mut streams = Vec::new();
    let refused = loop {
        match follow(&mut ada, all_kept()).await {
            Ok(stream) => streams.push(stream),
            Err(refused) => break refused,
        }
    };
    assert_eq!((streams.len(), refused.code(), reason(&refused)), (16, Code::ResourceExhausted, "busy"));
    assert!(
        refused.message().contains("16 streams of events are being read, 16 of them by user 1000"),
        "{refused}"
    );
    assert!(follow(&mut served.client(0).await, all_kept()).await.is_ok(), "others have places");
    streams.clear();
    // The end of a stream arrives as a message, possibly after the next call.
    while let Err(refused) = follow(&mut ada, all_kept()).await {
        assert_eq!(reason(&refused), "busy");
    }
}

#[tokio::test]
async fn reassigned_numbers_are_reported_and_their_new_entries_sent() {
    let served = Served::with(100);
    for _ in 0..5 {
        served.write(ADA, "user:1000").await;
    }
    let begun = |request: wire::FollowEventsRequest, mut node: Node| async move {
        node.follow_events(request).await?.into_inner().message().await.map(Option::unwrap)
    };
    let first = begun(all_kept(), served.client(0).await).await.unwrap();
    assert!(!first.epoch.is_empty() && first.renumbered_after.is_none(), "{first:?}");
    // The client received all five entries. Three are on disk when power fails, and the next daemon writes four more.
    let served = served.after_power_loss(3);
    for _ in 0..4 {
        served.write(ADA, "user:1000").await;
    }
    let after = |epoch: &str| wire::FollowEventsRequest {
        after: Some(5),
        epoch: epoch.to_owned(),
        ..wire::FollowEventsRequest::default()
    };
    let resumed = begun(after(&first.epoch), served.client(0).await).await.unwrap();
    assert_eq!((resumed.renumbered_after, resumed.position), (Some(3), 3));
    assert_ne!(resumed.epoch, first.epoch);
    let mut events = follow(&mut served.client(0).await, after(&first.epoch)).await.unwrap();
    events.read_to(7).await;
    assert_eq!(events.numbers(), [4, 5, 6, 7]);
    // Within the same run, a number keeps its meaning.
    let same = begun(after(&resumed.epoch), served.client(0).await).await.unwrap();
    assert_eq!((same.renumbered_after, same.position), (None, 5));
    let unknown = begun(after("0123456789abcdef"), served.client(0).await).await.unwrap_err();
    assert_eq!(reason(&unknown), "conflict");
    assert!(unknown.message().contains("does not know that run"), "{unknown}");
}

#[tokio::test]
async fn whoever_may_read_no_more_gets_nothing_more() {
    let served = Served::with(100);
    let mut ada = follow(&mut served.client(ADA).await, all_kept()).await.unwrap();
    served.write(ADA, "user:1000").await;
    ada.read_to(1).await;
    let nothing = AccessPolicy { socket_group: SocketGroup::Nothing, ..AccessPolicy::default() };
    *served.policy.0.lock().unwrap() = Arc::new(nothing);
    served.write(ADA, "user:1000").await;
    let denied = ada.read().await.unwrap_err();
    assert_eq!((denied.code(), reason(&denied)), (Code::PermissionDenied, "denied"));
    assert_eq!(ada.numbers(), [1]);
    let denied = follow(&mut served.client(ADA).await, all_kept()).await.err().unwrap();
    assert!(denied.message().contains("user 1000 may not read"), "{denied}");
}

#[tokio::test]
async fn unknown_number_and_missing_journal_are_reported() {
    let served = Served::with(100);
    served.write(0, "root").await;
    let ahead = wire::FollowEventsRequest { after: Some(7), ..Default::default() };
    let refused = follow(&mut served.client(0).await, ahead).await.err().unwrap();
    assert_eq!(reason(&refused), "conflict");
    assert!(refused.message().contains("ends with number 1, and entries after number 7"), "{refused}");
    let folder = tempfile::tempdir().unwrap();
    let refused = follow(&mut client(api(folder.path()), 0).await, all_kept()).await.err().unwrap();
    assert_eq!((refused.code(), reason(&refused)), (Code::Unimplemented, "unsupported"));
    assert!(refused.message().contains("keeps no journal"), "{refused}");
}

#[tokio::test]
async fn streams_end_with_the_daemon() {
    let served = Served::with(100);
    let mut events = follow(&mut served.client(0).await, all_kept()).await.unwrap();
    served.api.end_streams();
    while events.read().await.unwrap() {}
}
