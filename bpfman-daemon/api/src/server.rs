//! What all services share: the engine, the callers, and the way to a thread where work may block.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bpfman_proto::ext::v1::CagePart;
use bpfman_proto::ext::v1::bpfman_access_server::BpfmanAccessServer;
use bpfman_proto::ext::v1::bpfman_chains_server::BpfmanChainsServer;
use bpfman_proto::ext::v1::bpfman_ext_server::BpfmanExtServer;
use bpfman_proto::ext::v1::bpfman_figures_server::BpfmanFiguresServer;
use bpfman_proto::ext::v1::bpfman_images_server::BpfmanImagesServer;
use bpfman_proto::ext::v1::bpfman_map_entries_server::BpfmanMapEntriesServer;
use bpfman_proto::ext::v1::bpfman_node_server::BpfmanNodeServer;
use bpfman_proto::ext::v1::bpfman_radar_server::BpfmanRadarServer;
use bpfman_proto::v1::bpfman_server::BpfmanServer;
use bpfmand_access::AccessPolicy;
use bpfmand_core::{BytecodeSource, Peer};
use bpfmand_engine::{Engine, EngineError, FigureDesk, FreezeExemption, Images};
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
use crate::member_timing::MEMBER_TIMINGS;
use crate::places::ReadingPlaces;
use crate::prints::PrintFollowers;
use crate::radar_standing::{RadarControl, RadarStanding};
use crate::serve::{Connections, LARGEST_REQUEST, OpenMaps, SocketSystem};
use crate::shares::ChangeShares;
use crate::status;
use crate::type_support::Support;
use crate::watchers::Watchers;
use crate::{Activity, Gate, GateStanding, ImageService, Prepared};

/// Most threads that work for calls at the same time, by what they may wait for. Those that wait for each other are kept
/// apart from those that do not.
const CHANGES: usize = 32;
const VIEWS: usize = 4;
const READS: usize = 8;

/// Changes of one caller that run at the same time, and that wait until one of those has ended.
const CHANGES_OF_ONE: usize = CHANGES / 4;
const WAITING_OF_ONE: usize = 48;
/// Changes of all callers but root that run at the same time.
const CHANGES_OF_OTHERS: usize = CHANGES - CHANGES / 4;

/// Most threads that calls need at the same time: what the runtime has to have for them.
pub const MOST_THREADS: usize = CHANGES + VIEWS + READS + READINGS + crate::prints::FOLLOWERS;

/// Room for calls, by what they may wait for.
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

/// Answers whether processes that read for the daemon can be started. Must not wait.
pub type HelpersAble = Arc<dyn Fn() -> bool + Send + Sync>;

/// What a call answers.
pub(crate) type Reply<T> = Result<Response<T>, Status>;

/// Folders that answers name.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The daemon's bpffs.
    pub fs: PathBuf,
    /// The runtime folder.
    pub runtime: PathBuf,
    /// The folder of the records.
    pub state: PathBuf,
}

/// All services over one engine.
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
    pub(crate) load_gate: Arc<GateStanding>,
    pub(crate) radar: Arc<RadarStanding>,
    pub(crate) radar_control: Option<Arc<dyn RadarControl>>,
    /// Whether processes that read for the daemon can be started; none where it needs none.
    pub(crate) helpers: Option<HelpersAble>,
    threads: Arc<Threads>,
    pub(crate) readings: Arc<ReadingPlaces>,
    pub(crate) map_readings: Arc<ReadingPlaces>,
    pub(crate) figures: Arc<FigureDesk>,
    pub(crate) figure_readers: Arc<ReadingPlaces>,
    pub(crate) history_readers: Arc<ReadingPlaces>,
    pub(crate) map_lists: Arc<ReadingPlaces>,
    /// Clients that have members of chains timed.
    pub(crate) member_timings: Arc<ReadingPlaces>,
    pub(crate) prints: Arc<PrintFollowers>,
    /// What the kernel was found to have, once it was asked for.
    pub(crate) support: Arc<OnceLock<Support>>,
    /// All that it has, as it was told last.
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
            member_timings: Arc::clone(&self.member_timings),
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
            helpers: self.helpers.clone(),
            threads: Arc::clone(&self.threads),
            support: Arc::clone(&self.support),
            features: Arc::clone(&self.features),
        }
    }
}

impl<K: Kernel> Api<K> {
    /// Services over an engine.
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
            member_timings: Arc::new(ReadingPlaces::new("times of members", MEMBER_TIMINGS)),
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
            helpers: None,
            threads: Arc::default(),
            support: Arc::default(),
            features: Arc::default(),
        }
    }

    /// Serves the cache of images, too.
    #[must_use]
    pub fn with_image_service(self, service: Arc<dyn ImageService>) -> Self {
        Self { image_service: Some(service), ..self }
    }

    /// Asks here for grants; without, root changes and others read.
    #[must_use]
    pub fn with_access(self, access: Arc<dyn AccessSource>) -> Self {
        Self { access, ..self }
    }

    /// Tells callers what the process gave up.
    #[must_use]
    pub fn with_cage(self, parts: Vec<CagePart>) -> Self {
        Self { cage: parts.into(), ..self }
    }

    /// Tells changes and refusals here; without, the log alone.
    #[must_use]
    pub fn with_journal(self, journal: Arc<Journal>) -> Self {
        let events = Arc::new(EventFollowers::of(&journal));
        Self { journal, events, ..self }
    }

    /// Reads figures here, with whoever else does.
    #[must_use]
    pub fn with_figures(self, figures: Arc<FigureDesk>) -> Self {
        Self { figures, ..self }
    }

    /// What all changes go through.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Has all changes go through this gate.
    #[must_use]
    pub fn with_gate(self, gate: Arc<Gate>) -> Self {
        Self { gate, ..self }
    }

    /// Tells callers how this gate stands.
    #[must_use]
    pub fn with_load_gate(self, load_gate: Arc<GateStanding>) -> Self {
        Self { load_gate, ..self }
    }

    /// Tells callers what this radar sees, and switches it.
    #[must_use]
    pub fn with_radar(self, radar: Arc<RadarStanding>, control: Arc<dyn RadarControl>) -> Self {
        Self { radar, radar_control: Some(control), ..self }
    }

    /// Tells callers when nobody is left to start processes that read for the daemon.
    #[must_use]
    pub fn with_helpers(self, are_able: HelpersAble) -> Self {
        Self { helpers: Some(are_able), ..self }
    }

    /// When the last request ended.
    #[must_use]
    pub fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// Ends the streams that would go on until their clients go.
    pub fn end_streams(&self) {
        self.watchers.end();
    }

    /// Serves a socket until `stop` is ready, and then until requests in progress have ended.
    pub async fn serve(&self, listener: UnixListener, system: SocketSystem, stop: impl Future<Output = ()>) {
        let api = self.clone();
        let maps: OpenMaps = Arc::new(move |asked| {
            let api = api.clone();
            Box::pin(async move { api.open_map(asked).await })
        });
        let journal = Arc::clone(&self.journal);
        let access = Arc::clone(&self.access);
        Connections { routes: self.routes(), maps, system, journal, access }.serve(listener, stop).await;
    }

    fn routes(&self) -> Routes {
        Routes::new(BpfmanServer::new(self.clone()).max_decoding_message_size(LARGEST_REQUEST))
            .add_service(BpfmanExtServer::new(self.clone()).max_decoding_message_size(LARGEST_REQUEST))
            .add_service(BpfmanImagesServer::new(self.clone()).max_decoding_message_size(LARGEST_REQUEST))
            .add_service(BpfmanChainsServer::new(self.clone()).max_decoding_message_size(LARGEST_REQUEST))
            .add_service(BpfmanNodeServer::new(self.clone()).max_decoding_message_size(LARGEST_REQUEST))
            .add_service(BpfmanMapEntriesServer::new(self.clone()).max_decoding_message_size(LARGEST_REQUEST))
            .add_service(BpfmanFiguresServer::new(self.clone()).max_decoding_message_size(LARGEST_REQUEST))
            .add_service(BpfmanRadarServer::new(self.clone()).max_decoding_message_size(LARGEST_REQUEST))
            .add_service(BpfmanAccessServer::new(self.clone()).max_decoding_message_size(LARGEST_REQUEST))
    }

    /// Waits for the image that a request names, without taking one of the threads that requests work on: registries may
    /// be slow. What came of it, the failure too, is what the engine gets as long as the answer lives.
    pub(crate) async fn prepare(&self, permit: &Permit, source: &BytecodeSource) -> Prepared {
        let (Some(service), BytecodeSource::Image { .. }) = (&self.image_service, source) else {
            return Prepared::default();
        };
        let _running = self.activity.begin();
        service.prepare(source, permit.uid, &|_, _| {}).await
    }

    /// Does work that changes something, or tries how a change would go, on a thread where it may block: it may wait for
    /// the hooks and programs that it is about. It goes on when the caller hangs up: what was begun is finished.
    ///
    /// One caller has a share of the threads; what is more waits, and is refused where too much waits already.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        permit: &Permit,
        work: impl FnOnce(&Self) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        // Before a thread is waited for, and once more on it.
        self.gate.check()?;
        let place = self.threads.shares.enter(permit).await?;
        let exemption = if permit.uid == 0 { FreezeExemption::NotRoots } else { FreezeExemption::None };
        let work = move |api: &Self| {
            let _place = place;
            let _inside = api.gate.enter()?;
            exemption.during(|| work(api))
        };
        self.work(&self.threads.changes, work).await
    }

    /// The same with the image that was prepared for it, which lives until the work is done.
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

    /// Reads what waits for no hook and no program. No change, and no other call that waits, takes its threads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        _permit: &Permit,
        work: impl FnOnce(&Self) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        self.work(&self.threads.reads, work).await
    }

    /// Reads what may have to wait until a change of one hook, or of the image cache, is over.
    pub(crate) async fn view<T: Send + 'static>(
        &self,
        _permit: &Permit,
        work: impl FnOnce(&Self) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        self.work(&self.threads.views, work).await
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
            Err(Status::internal("the daemon failed while it worked on this request; its log says more"))
        })
    }
}

/// The engine's failure as a status.
pub fn fail(error: EngineError) -> Status {
    let answer = status::from_engine(&error);
    tracing::info!(code = ?answer.code(), %error, "refused");
    answer
}

/// The user id of the calling process, as this daemon's server tells it, or tonic's own.
pub fn caller(extensions: &Extensions) -> Result<u32, Status> {
    let of_peer = || extensions.get::<Peer>().map(|peer| peer.uid);
    let of_socket = || Some(extensions.get::<UdsConnectInfo>()?.peer_cred?.uid());
    of_peer().or_else(of_socket).ok_or_else(|| status::denied("the calling process cannot be identified"))
}
