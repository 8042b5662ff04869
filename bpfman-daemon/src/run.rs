//! Lifecycle of the daemon: open, recover, serve, shut down.

use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bpfman_model::Selector;
use bpfmand_api::{AccessSource, Api, MAX_THREADS, Paths, RadarState};
use bpfmand_broker::Sessions;
use bpfmand_engine::{
    ChangeListener, Engine, EngineOptions, Images, MIGRATIONS, ProgramDetails, ReadObjects, SCHEMA,
    StepObserver,
};
use bpfmand_image::ImageStore;
use bpfmand_journal::Journal;
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_observe::serve::Scrapes;
use bpfmand_observe::{DaemonMetrics, DaemonParts, DaemonStates, ImageCounts, LimitCounts, RadarCounts};
use bpfmand_reader::{ReaderClient, StartPatience, StartReader};
use bpfmand_store::{Store, StoreOptions};

use crate::break_glass::Marker;
use crate::break_glass_watcher::BreakGlassWatcher;
use crate::budgets::{BudgetSettings, Budgets};
use crate::cage::Cage;
use crate::config::Config;
use crate::csi::Csi;
use crate::image_runtime::ImageRuntime;
use crate::images::RegistryImages;
use crate::load_gate::{self, GateThread, LoadGate};
use crate::logging;
use crate::metrics::RunStatistics;
use crate::policy::PolicySource;
use crate::radar::{RadarParts, RadarThread};
use crate::reserve::Reserve;
use crate::serve::{GRACE, Metrics, serve};
use crate::sessions::BrokeredSessions;
use crate::start_progress::{StartProgress, StartReads, StartSteps};
use crate::watch::Watcher;
use crate::workers::WorkerProcesses;

/// Threads besides those of calls, for work triggered by signals.
const OTHER_THREADS: usize = 4;

const STACK: usize = 1 << 20;

/// Raises the limit of open files: each watched namespace takes two descriptors, each changed hook several more.
fn allow_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}

/// Mounts the bpffs unless it is mounted, for a unit or container with permission to mount when the daemon has none.
pub fn mount(config: &Config) -> anyhow::Result<()> {
    Ok(bpfmand_kernel::linux::mount_pins(&config.fs())?)
}

pub fn run(config: &Config) -> anyhow::Result<()> {
    logging::start(config)?;
    crate::predecessor::refuse(&config.runtime)?;
    allow_descriptors();
    bpfmand_kernel::linux::raise_memlock();
    // Open first: mistakes are reported before any change, and a port below 1024 needs a capability dropped next.
    let metrics_by_tcp = config.metrics.open()?;
    bpfmand_cage::check_user_namespace()?;
    // Start the starter before the sandbox, which forbids execve.
    let workers = Arc::new(WorkerProcesses::begin(config)?);
    let metrics_by_tcp = metrics_by_tcp.map(|tcp| tcp.ready(&workers)).transpose()?;
    // Raise limits first, which may need a capability. Drop capabilities before any thread starts, since a running
    // thread would keep them.
    let mut cage = Cage::begin(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(
            MAX_THREADS + bpfmand_csi::MAX_THREADS + bpfmand_observe::MAX_THREADS + OTHER_THREADS,
        )
        .thread_stack_size(STACK)
        .thread_keep_alive(Duration::from_secs(1))
        .build()
        .context("cannot start the runtime")?;
    // Open the store first: its lock keeps a second daemon from changing anything else.
    let reserve = Reserve::release(&config.state);
    let store =
        StoreOptions::new(config.state.join("store"), SCHEMA).migrations(MIGRATIONS).engine(config.store);
    // If another daemon holds the folder, give its reserve file back.
    let store = Store::open(store).inspect_err(|_| reserve.keep())?;
    if let Some(gate) = &config.gate {
        load_gate::wait_until_open(gate);
    }
    let mut kernel = LinuxKernel::new(&config.fs())?;
    match kernel.check_pins_outlive_process() {
        Ok(()) => {}
        Err(error) if config.allow_private_mounts => {
            tracing::warn!(%error, "--allow-private-mounts: started with private mounts");
            cage.pins_end_with_it();
        }
        Err(error) => {
            if let Err(error) = kernel.unmount_pins() {
                tracing::warn!(%error, "the bpffs stays mounted");
            }
            let hint = "mount it first where the machine sees it, such as with `bpfmand mount` in the unit or container \
                        that may; --allow-private-mounts starts all the same";
            return Err(anyhow::Error::new(error).context(hint));
        }
    }
    for probe in &config.without {
        tracing::warn!(probe.name, "kernel.without: as on a kernel without it, {}", probe.without);
        kernel.switch_off(probe);
    }
    let kernel = Arc::new(kernel);
    // The store's lock is not enough: a daemon with other records may use the same bpffs.
    let _pins_held = kernel.hold_pins_alone()?;
    // Everything is mounted, and no untrusted data has been read yet.
    cage.close(config)?;
    let (image_runtime, landlock) = ImageRuntime::new(config.image_folders())?;
    cage.holds_files(landlock);
    cage.set_worker_user(workers.user());
    cage.tell();
    // Open the policy under the locks: its last good copy is in the state folder.
    let policy = Arc::new(PolicySource::open(config));
    let images = ImageStore::new(config.images.clone(), (*policy.images().rules).clone(), workers.clone())
        .with_settings(config.registries.clone())
        .with_bounds(config.image_bounds);
    let image_counts = Arc::<ImageCounts>::default();
    let images = RegistryImages::new(images, Arc::clone(&policy), image_runtime, config.auth_users.clone());
    let images = Arc::new(images.with_counts(Arc::clone(&image_counts)));
    let mut options = EngineOptions::new(config.state.join("bytecode"), store);
    options.images = Arc::clone(&images) as Arc<dyn Images>;
    let start_reader = Arc::clone(&workers) as Arc<dyn StartReader>;
    let readers = Arc::new(ReaderClient::new(start_reader).starting(StartPatience::default()));
    options.objects = Arc::clone(&readers) as Arc<dyn ReadObjects>;
    options.xdp_modes = config.xdp_modes.clone();
    options.tc_by_clsact = config.tc_by_clsact;
    // Same variable as libxdp's.
    if let Some(bpffs) = std::env::var_os("LIBXDP_BPFFS") {
        options.libxdp_pins = Path::new(&bpffs).join("xdp");
    }
    options.counters = config.counters;
    options.owner_budget = config.owner_budget;
    options.map_bytes = config.map_bytes;
    options.map_bytes_of_owner = Some(config.map_bytes_of_owner);
    options.map_bytes_of_owners = config.map_bytes_of_owners;
    options.kept = config.kept;
    // The keys of the standard library's hashers are random.
    options.timed_packet = RandomState::new().hash_one(0_u8) as u16 % 1024;
    let observer: Arc<dyn StepObserver>;
    #[cfg(not(debug_assertions))]
    {
        observer = Arc::new(bpfmand_engine::NoObserver);
    }
    #[cfg(debug_assertions)]
    let steps = Arc::new(crate::step_kill::StepKill::from_environment());
    #[cfg(debug_assertions)]
    {
        observer = steps.clone();
    }
    let progress = Arc::<StartProgress>::default();
    options.observer =
        Arc::new(StartSteps { progress: Arc::clone(&progress), observer: Arc::clone(&observer) });
    options.objects = Arc::new(StartReads { progress: Arc::clone(&progress), objects: options.objects });
    let engine = Arc::new(Engine::open(Arc::clone(&kernel), options)?);
    let journal = Arc::new(Journal::open(config.journal.clone()).context("cannot start the journal")?);
    let mut glass =
        BreakGlassWatcher::start(Marker::new(&config.state, &config.runtime), &engine, &journal, readers)?;
    reserve.keep();
    progress.end();
    let csi = config
        .csi
        .as_ref()
        .map(|settings| Csi::open(settings, &engine, observer, Arc::clone(&journal)))
        .transpose()?;
    #[cfg(debug_assertions)]
    steps.arm();
    bpfmand_kernel::linux::trim_heap();
    let (gate, is_broken) = (glass.gate(), glass.poll());
    let load_gate = LoadGate::new(
        config.gate.clone(),
        &engine,
        &kernel,
        Arc::clone(&images) as Arc<dyn Images>,
        &journal,
    );
    let gate_standing = load_gate.standing();
    let load_gate =
        GateThread::start(load_gate, Arc::clone(&gate)).context("cannot start the keeper of the gate")?;
    let limit_counts = Arc::<LimitCounts>::default();
    let radar = RadarThread::start(RadarParts {
        settings: config.radar.clone(),
        engine: Arc::clone(&engine),
        kernel: Arc::clone(&kernel),
        images: Arc::clone(&images) as Arc<dyn Images>,
        journal: Arc::clone(&journal),
        changes: Arc::clone(&gate),
    })
    .context("cannot start the radar")?;
    let radar_standing = radar.standing();
    let budgets = Arc::new(Budgets::new(
        Arc::clone(&engine),
        Arc::clone(&policy),
        Arc::clone(&journal),
        Arc::clone(&gate),
        BudgetSettings { window: config.cpu_window, traps: config.traps },
        Arc::clone(&limit_counts),
    ));
    // Apply the limits of a new load at once, even if a check of the hooks is waiting.
    let begin_limits: Arc<ChangeListener> = Arc::new({
        let budgets = Arc::downgrade(&budgets);
        move || {
            if let Some(budgets) = budgets.upgrade() {
                budgets.poll();
            }
        }
    });
    engine.on_change(&begin_limits);
    let (checks, limits) = (config.check, Arc::clone(&budgets));
    let watcher = Watcher::start(Arc::clone(&engine), checks, Arc::clone(&journal), glass, limits)
        .context("cannot start the watch of interfaces")?;
    let statistics = RunStatistics::begin(&kernel, config.metrics.run_statistics);
    let metrics = DaemonMetrics::new(DaemonParts {
        engine: Arc::clone(&engine),
        journal: Arc::clone(&journal),
        images: image_counts,
        limits: limit_counts,
        version: env!("CARGO_PKG_VERSION"),
        states: Box::new({
            let gate = Arc::clone(&gate);
            let radar = Arc::clone(&radar_standing);
            move || DaemonStates {
                detached: gate.closed().is_some(),
                runs_counted: statistics.are_on(),
                radar: radar_counts(&radar),
            }
        }),
    });
    let scrapes = Arc::new(Scrapes::new(Box::new(move || metrics.text())));
    let sessions = Sessions::new(
        config.runtime.join("sessions"),
        {
            let policy = Arc::clone(&policy);
            Arc::new(move || AccessSource::policy(&*policy))
        },
        Arc::clone(&journal),
    );
    sessions.adopt();
    let paths = Paths { fs: config.fs(), runtime: config.runtime.clone(), state: config.state.clone() };
    images.collect_but(image_digests(Arc::downgrade(&engine)));
    let api = Api::new(Arc::clone(&engine), Arc::clone(&images) as Arc<dyn Images>, paths)
        .with_image_service(images)
        .with_access(Arc::clone(&policy) as Arc<PolicySource>)
        .with_cage(cage.parts())
        .with_journal(journal)
        .with_gate(gate)
        .with_load_gate(gate_standing)
        .with_radar(Arc::clone(&radar_standing), radar.control())
        .with_sessions(Arc::new(BrokeredSessions(sessions)))
        .with_worker_check({
            let workers = Arc::clone(&workers);
            Arc::new(move || workers.has_starter())
        });
    // Detach programs with an image revoked while the daemon was down.
    if !is_broken && let Err(error) = api.hold_against_policy() {
        tracing::warn!(%error, "running programs cannot be held against the policy");
    }
    // The CSI plugin must stay available: a kubelet may call at any time.
    let is_needed = || {
        config.csi.is_some()
            || config.gate.is_some()
            || engine.has_matchings()
            || engine.has_deadlines()
            || budgets.measures()
            || config.metrics.listen.is_some()
            || config.idle.is_some_and(|idle| scrapes.were_read_within(idle))
            || radar_standing.is_on()
    };
    let metrics = Metrics { tcp: metrics_by_tcp, scrapes: &scrapes, policy: &policy };
    let result = runtime.block_on(serve(config, &api, (csi, metrics), &workers, is_needed));
    drop((watcher, begin_limits));
    budgets.stop();
    radar.end();
    load_gate.end();
    runtime.shutdown_timeout(GRACE);
    // Leases end with the daemon. The next start removes what cannot be removed now.
    if let Ok(_inside) = api.gate().enter()
        && let Err(error) = engine.expire()
    {
        tracing::warn!(%error, "what clients held runs until the next start");
    }
    if let Err(error) = engine.close() {
        tracing::warn!(%error, "the next start will tidy up");
    }
    result
}

fn radar_counts(standing: &RadarState) -> RadarCounts {
    let report = standing.lock();
    RadarCounts {
        source: report.source.name(),
        events: report.events,
        lost: report.lost,
        touches: report.touches,
    }
}

fn image_digests(engine: std::sync::Weak<Engine<LinuxKernel>>) -> crate::images::InUse {
    Box::new(move || {
        let selector = Selector { managed_only: true, ..Selector::default() };
        let programs = engine.upgrade()?.list(&selector).ok()?;
        let digest =
            |program: ProgramDetails| Some(program.managed?.record.source.image_digest()?.to_owned());
        Some(programs.into_iter().filter_map(digest).collect())
    })
}
