//! State that all services share, and the threads on which calls may block.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bpfman_model::{BytecodeSource, Peer};
use bpfman_proto::ext::v1::CagePart;
use bpfman_proto::ext::v1::bpfman_access_server::BpfmanAccessServer;
use bpfman_proto::ext::v1::bpfman_chains_server::BpfmanChainsServer;
use bpfman_proto::ext::v1::bpfman_ext_server::BpfmanExtServer;
use bpfman_proto::ext::v1::bpfman_figures_server::BpfmanFiguresServer;
use bpfman_proto::ext::v1::bpfman_images_server::BpfmanImagesServer;
use bpfman_proto::ext::v1::bpfman_map_entries_server::BpfmanMapEntriesServer;
use bpfman_proto::ext::v1::bpfman_node_server::BpfmanNodeServer;
use bpfman_proto::ext::v1::bpfman_radar_server::BpfmanRadarServer;
use bpfman_proto::ext::v1::bpfman_sessions_server::BpfmanSessionsServer;
use bpfman_proto::v1::bpfman_server::BpfmanServer;
use bpfmand_access::AccessPolicy;
use bpfmand_engine::{Engine, EngineError, FiguresCache, FreezeExemption, Images, RecordedCounts};
use bpfmand_journal::Journal;
use bpfmand_kernel::Kernel;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tonic::service::Routes;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Extensions, Response, Status};

use crate::authorize::{AccessSource, Permit};
use crate::event_followers::EventFollowers;
use crate::features::LastAnswer;
use crate::figure_stream::FIGURE_STREAMS;
use crate::history_pages::HISTORY_READERS;
use crate::iterators::{READING_BOUNDS, READINGS};
use crate::map_contents::MAP_READINGS;
use crate::map_entries::MAP_LISTS;
use crate::member_measurements::MEMBER_MEASUREMENTS;
use crate::places::ReadingPlaces;
use crate::prints::PrintFollowers;
use crate::radar_state::{RadarControl, RadarState};
use crate::reservations::Reservations;
use crate::serve::{Connections, HandoverCalls, IDENTIFYING, MAX_REQUEST, SocketSystem};
use crate::sessions::{OptionalSessions, SessionService};
use crate::shares::ChangeShares;
use crate::status;
use crate::type_support::Support;
use crate::watchers::Watchers;
use crate::{Activity, Gate, GateStatus, ImageService, Prepared};

/// Maximum number of threads, by kind of call: calls that may wait for each other use different threads.
const CHANGES: usize = 32;
const VIEWS: usize = 4;
const READS: usize = 8;

/// Maximum number of one caller's changes that run, and of those that wait, at the same time.
const CHANGES_OF_ONE: usize = CHANGES / 4;
const WAITING_OF_ONE: usize = 48;
/// Maximum number of changes of all callers but root that run at the same time.
const CHANGES_OF_OTHERS: usize = CHANGES - CHANGES / 4;

/// Maximum number of threads that calls need at the same time: the runtime must have as many.
pub const MAX_THREADS: usize = CHANGES + VIEWS + READS + READINGS + IDENTIFYING + crate::prints::FOLLOWERS;

#[derive(Debug)]
struct Threads {
    changes: Arc<Semaphore>,
    shares: Arc<ChangeShares>,
    views: Arc<Semaphore>,
    reads: Arc<Semaphore>,
}

impl Default for Threads {
    fn default() -> Self {
        let of = |count| Arc::new(Semaphore::new(count));
        let shares = Arc::new(ChangeShares::new(CHANGES_OF_ONE, WAITING_OF_ONE, CHANGES_OF_OTHERS));
        Self { changes: of(CHANGES), shares, views: of(VIEWS), reads: of(READS) }
    }
}

/// Function that returns whether worker processes can be started. It must not block.
pub type WorkerCheck = Arc<dyn Fn() -> bool + Send + Sync>;

pub(crate) type Reply<T> = Result<Response<T>, Status>;

/// Folders that appear in answers.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Mount point of the daemon's bpffs.
    pub fs: PathBuf,
    pub runtime: PathBuf,
    pub state: PathBuf,
}

/// Services over one engine.
pub struct Api<K: Kernel> {
    pub(crate) engine: Arc<Engine<K>>,
    pub(crate) images: Arc<dyn Images>,
    pub(crate) image_service: Option<Arc<dyn ImageService>>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) paths: Paths,
    pub(crate) watchers: Arc<Watchers>,
    pub(crate) access: Arc<dyn AccessSource>,
    pub(crate) cage: Arc<[CagePart]>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) events: Arc<EventFollowers>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) load_gate: Arc<GateStatus>,
    pub(crate) radar: Arc<RadarState>,
    pub(crate) radar_control: Option<Arc<dyn RadarControl>>,
    /// True if worker processes can be started; `None` if the daemon needs none.
    pub(crate) worker_check: Option<WorkerCheck>,
    pub(crate) sessions: OptionalSessions,
    threads: Arc<Threads>,
    pub(crate) readings: Arc<ReadingPlaces>,
    pub(crate) map_readings: Arc<ReadingPlaces>,
    pub(crate) figures: Arc<FiguresCache>,
    pub(crate) figure_readers: Arc<ReadingPlaces>,
    pub(crate) history_readers: Arc<ReadingPlaces>,
    pub(crate) map_lists: Arc<ReadingPlaces>,
    pub(crate) member_measurements: Arc<ReadingPlaces>,
    pub(crate) prints: Arc<PrintFollowers>,
    pub(crate) support: Arc<OnceLock<Support>>,
    pub(crate) features: Arc<LastAnswer>,
}

impl<K: Kernel> Clone for Api<K> {
    fn clone(&self) -> Self {
        Self {
            engine: Arc::clone(&self.engine),
            images: Arc::clone(&self.images),
            image_service: self.image_service.clone(),
            activity: Arc::clone(&self.activity),
            readings: Arc::clone(&self.readings),
            map_readings: Arc::clone(&self.map_readings),
            figures: Arc::clone(&self.figures),
            figure_readers: Arc::clone(&self.figure_readers),
            history_readers: Arc::clone(&self.history_readers),
            map_lists: Arc::clone(&self.map_lists),
            member_measurements: Arc::clone(&self.member_measurements),
            prints: Arc::clone(&self.prints),
            paths: self.paths.clone(),
            watchers: Arc::clone(&self.watchers),
            access: Arc::clone(&self.access),
            cage: Arc::clone(&self.cage),
            journal: Arc::clone(&self.journal),
            events: Arc::clone(&self.events),
            gate: Arc::clone(&self.gate),
            load_gate: Arc::clone(&self.load_gate),
            radar: Arc::clone(&self.radar),
            radar_control: self.radar_control.clone(),
            worker_check: self.worker_check.clone(),
            sessions: self.sessions.clone(),
            threads: Arc::clone(&self.threads),
            support: Arc::clone(&self.support),
            features: Arc::clone(&self.features),
        }
    }
}

impl<K: Kernel> Api<K> {
    /// Creates services over an engine.
    pub fn new(engine: Arc<Engine<K>>, images: Arc<dyn Images>, paths: Paths) -> Self {
        let journal = Arc::<Journal>::default();
        Self {
            engine,
            images,
            image_service: None,
            activity: Arc::default(),
            readings: Arc::new(ReadingPlaces::new("iterators", READING_BOUNDS)),
            map_readings: Arc::new(ReadingPlaces::new("maps", MAP_READINGS)),
            figures: Arc::default(),
            figure_readers: Arc::new(ReadingPlaces::new("streams of figures", FIGURE_STREAMS)),
            history_readers: Arc::new(ReadingPlaces::new("histories", HISTORY_READERS)),
            map_lists: Arc::new(ReadingPlaces::new("lists of maps", MAP_LISTS)),
            member_measurements: Arc::new(ReadingPlaces::new("measurements of members", MEMBER_MEASUREMENTS)),
            prints: Arc::default(),
            paths,
            watchers: Arc::default(),
            access: Arc::new(Arc::<AccessPolicy>::default()),
            cage: Arc::default(),
            events: Arc::new(EventFollowers::of(&journal)),
            journal,
            gate: Arc::default(),
            load_gate: Arc::default(),
            radar: Arc::default(),
            radar_control: None,
            worker_check: None,
            sessions: None,
            threads: Arc::default(),
            support: Arc::default(),
            features: Arc::default(),
        }
    }

    /// Adds the service for the image cache.
    #[must_use]
    pub fn with_image_service(self, service: Arc<dyn ImageService>) -> Self {
        Self { image_service: Some(service), ..self }
    }

    /// Sets the source of grants; without it, root may change and others may read.
    #[must_use]
    pub fn with_access(self, access: Arc<dyn AccessSource>) -> Self {
        Self { access, ..self }
    }

    /// Sets the confinement of the process, which callers can query.
    #[must_use]
    pub fn with_cage(self, parts: Vec<CagePart>) -> Self {
        Self { cage: parts.into(), ..self }
    }

    /// Sets the journal for changes and refusals; without it, they are only logged.
    #[must_use]
    pub fn with_journal(self, journal: Arc<Journal>) -> Self {
        let events = Arc::new(EventFollowers::of(&journal));
        Self { journal, events, ..self }
    }

    /// Returns the gate that all changes pass.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Sets the gate that all changes pass.
    #[must_use]
    pub fn with_gate(self, gate: Arc<Gate>) -> Self {
        Self { gate, ..self }
    }

    /// Sets the state of the load gate, which callers can query.
    #[must_use]
    pub fn with_load_gate(self, load_gate: Arc<GateStatus>) -> Self {
        Self { load_gate, ..self }
    }

    /// Sets the state of the radar, which callers can query, and its control.
    #[must_use]
    pub fn with_radar(self, radar: Arc<RadarState>, control: Arc<dyn RadarControl>) -> Self {
        Self { radar, radar_control: Some(control), ..self }
    }

    /// Sets the service that starts and lists sessions.
    #[must_use]
    pub fn with_sessions(self, sessions: Arc<dyn SessionService>) -> Self {
        Self { sessions: Some(sessions), ..self }
    }

    /// Sets the function that checks whether worker processes can be started.
    #[must_use]
    pub fn with_worker_check(self, are_able: WorkerCheck) -> Self {
        Self { worker_check: Some(are_able), ..self }
    }

    /// Returns the times of requests, for the idle exit.
    #[must_use]
    pub fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// Ends the streams that would continue until their clients leave.
    pub fn end_streams(&self) {
        self.watchers.end();
    }

    /// Serves a socket until `stop` is ready, then until requests in progress have ended.
    pub async fn serve(&self, listener: UnixListener, system: SocketSystem, stop: impl Future<Output = ()>) {
        let api = self.clone();
        let starting = self.clone();
        let handovers = HandoverCalls {
            open: Arc::new(move |asked| {
                let api = api.clone();
                Box::pin(async move { api.open_map(asked).await })
            }),
            start: Arc::new(move |request, client| {
                let api = starting.clone();
                Box::pin(async move { api.start_session(request, client).await })
            }),
        };
        let journal = Arc::clone(&self.journal);
        let access = Arc::clone(&self.access);
        let kept = self.engine.kept_share();
        let connections = Connections { routes: self.routes(), handovers, system, journal, access, kept };
        connections.serve(listener, stop).await;
    }

    fn routes(&self) -> Routes {
        Routes::new(BpfmanServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST))
            .add_service(BpfmanExtServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST))
            .add_service(BpfmanImagesServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST))
            .add_service(BpfmanChainsServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST))
            .add_service(BpfmanNodeServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST))
            .add_service(BpfmanMapEntriesServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST))
            .add_service(BpfmanFiguresServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST))
            .add_service(BpfmanRadarServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST))
            .add_service(BpfmanAccessServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST))
            .add_service(BpfmanSessionsServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST))
    }

    /// Prepares the image without occupying a thread. The engine uses the result while the value lives.
    pub(crate) async fn prepare(&self, permit: &Permit, source: &BytecodeSource) -> Prepared {
        let (Some(service), BytecodeSource::Image { .. }) = (&self.image_service, source) else {
            return Prepared::default();
        };
        let _running = self.activity.begin();
        service.prepare(source, permit.uid, &|_, _| {}).await
    }

    /// Runs a change, or a dry run of it, on a thread where it may block; it continues when the caller disconnects. A
    /// caller has a share of the threads: further changes wait, and are refused if too many wait.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        permit: &Permit,
        work: impl FnOnce(&Self) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        // Check here, so that a closed gate refuses without a wait for a thread, and again on the thread.
        self.gate.check()?;
        let place = self.threads.shares.enter(permit).await?;
        let exemption = if permit.uid == 0 { FreezeExemption::NotRoots } else { FreezeExemption::None };
        let reserved = permit.reserved.clone();
        let work = move |api: &Self| {
            let _place = place;
            let _inside = api.gate.enter()?;
            let work = || exemption.during(|| work(api));
            if reserved.is_empty() { work() } else { RecordedCounts::during(Arc::new(reserved), work) }
        };
        self.work(&self.threads.changes, permit.in_network(work)).await
    }

    pub(crate) fn reservations(&self) -> &Arc<Reservations> {
        &self.threads.shares.reservations
    }

    /// Runs a change with the image that was prepared for it, which is held until the work is done.
    pub(crate) async fn change_with<T: Send + 'static>(
        &self,
        permit: &Permit,
        image: Prepared,
        work: impl FnOnce(&Self) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let work = move |api: &Self| {
            let _image = image;
            work(api)
        };
        self.change(permit, work).await
    }

    /// Runs a read that waits for no hook and no program. Changes, and calls that wait, do not use its threads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        permit: &Permit,
        work: impl FnOnce(&Self) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        self.work(&self.threads.reads, permit.in_network(work)).await
    }

    /// Runs a read that may wait for a change of one hook, or of the image cache.
    pub(crate) async fn view<T: Send + 'static>(
        &self,
        permit: &Permit,
        work: impl FnOnce(&Self) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        self.work(&self.threads.views, permit.in_network(work)).await
    }

    async fn work<T: Send + 'static>(
        &self,
        threads: &Arc<Semaphore>,
        work: impl FnOnce(&Self) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let ending = |_| Status::unavailable("the daemon is ending");
        let thread = Arc::clone(threads).acquire_owned().await.map_err(ending)?;
        let api = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _thread = thread;
            let _running = api.activity.begin();
            work(&api)
        });
        done.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a request ended in a panic");
            Err(Status::internal("the daemon failed while it worked on this request; its log has more"))
        })
    }
}

pub fn fail(error: EngineError) -> Status {
    let answer = status::from_engine(&error);
    tracing::info!(code = ?answer.code(), %error, "refused");
    answer
}

pub fn caller(extensions: &Extensions) -> Result<u32, Status> {
    let of_peer = || extensions.get::<Peer>().map(|peer| peer.uid);
    let of_socket = || Some(extensions.get::<UdsConnectInfo>()?.peer_cred?.uid());
    of_peer().or_else(of_socket).ok_or_else(|| status::denied("the calling process cannot be identified"))
}
