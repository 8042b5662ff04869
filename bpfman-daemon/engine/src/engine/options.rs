//! What an engine is made of besides its kernel.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bpfmand_kernel::XdpMode;
use bpfmand_store::Store;

use crate::engine::bytecode::{Images, NoImages};
use crate::engine::objects::{ReadHere, ReadObjects};
use crate::engine::steps::{NoObserver, StepObserver};

/// XDP modes by interface name, where the configuration names one.
pub type XdpModes = BTreeMap<String, XdpMode>;

/// What an engine is made of besides its kernel.
pub struct EngineOptions {
    /// Folder of the object files that the store refers to.
    pub bytecode_folder: PathBuf,
    /// Records.
    pub store: Store,
    /// Images.
    pub images: Arc<dyn Images>,
    /// Reads object files.
    pub objects: Arc<dyn ReadObjects>,
    /// Hears of steps.
    pub observer: Arc<dyn StepObserver>,
    /// XDP modes by interface; of others the driver runs chains, or the network stack where that refuses.
    pub xdp_modes: XdpModes,
    /// Attach `tc` programs by clsact filters even where the kernel has tcx.
    pub tc_by_clsact: bool,
    /// Whether chains count where packets leave them.
    pub counters: CountersMode,
    /// What the members of one owner may cost on one hook.
    pub owner_budget: OwnerBudget,
    /// Most bytes of kernel memory that the maps of one load may take.
    pub map_bytes: u64,
    /// Most bytes of kernel memory of the maps of one owner that is neither root nor a cluster application; none: no limit.
    pub map_bytes_of_owner: Option<u64>,
    /// Most bytes of kernel memory of the maps of all these owners together; none: no limit.
    pub map_bytes_of_owners: Option<u64>,
    /// Where libxdp keeps its pins.
    pub libxdp_pins: PathBuf,
    /// About how many bytes of what an operation leaves to be removed are listed in one record; more takes several.
    pub leftover_bytes: usize,
    /// Longest time that a list waits for entries that are being changed.
    pub observation_wait: Duration,
    /// Which packet of 1,024 goes through timed twins. Members are not to know it: a daemon draws it when it starts.
    pub timed_packet: u16,
}

/// Well below what the store takes for a record, since what a record says is counted only about.
const LEFTOVER_BYTES: usize = bpfmand_store::MAX_VALUE / 2;

/// Changes of one hook take milliseconds: an entry that is not settled by then is changed all the time.
const OBSERVATION_WAIT: Duration = Duration::from_secs(2);

impl EngineOptions {
    /// Options without images, observer or configuration; objects are read in this process.
    #[must_use]
    pub fn new(bytecode_folder: PathBuf, store: Store) -> Self {
        Self {
            bytecode_folder,
            store,
            images: Arc::new(NoImages),
            objects: Arc::new(ReadHere),
            observer: Arc::new(NoObserver),
            xdp_modes: XdpModes::new(),
            tc_by_clsact: false,
            counters: CountersMode::default(),
            owner_budget: OwnerBudget::default(),
            map_bytes: DEFAULT_MAP_BYTES,
            map_bytes_of_owner: Some(DEFAULT_OWNERS_MAP_BYTES),
            map_bytes_of_owners: None,
            libxdp_pins: PathBuf::from(crate::engine::LIBXDP_PINS),
            leftover_bytes: LEFTOVER_BYTES,
            observation_wait: OBSERVATION_WAIT,
            timed_packet: 0,
        }
    }
}

/// Whether chains count where packets leave them, unless a hook's own switch says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CountersMode {
    /// Chains that are joined anyway do.
    #[default]
    Auto,
    /// All do: a lone member is joined with the counting, which costs 1 to 3 ns a packet.
    On,
    /// None does.
    Off,
}

/// The most that the members of one owner may be on one hook. An owner is a calling user with an application, if the
/// link names one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnerBudget {
    /// Members; none: as many as a chain takes.
    pub members: Option<u64>,
    /// Instructions that the verifier processed when each was loaded alone, together; none: no limit.
    pub verified_insns: Option<u64>,
}

/// The default of `maps.mib_per_load`, in bytes: 1 GiB.
pub const DEFAULT_MAP_BYTES: u64 = 1 << 30;

/// The default of `maps.mib_per_owner`, in bytes: 2 GiB.
pub const DEFAULT_OWNERS_MAP_BYTES: u64 = 2 << 30;

/// Where libxdp keeps its pins, unless `LIBXDP_BPFFS` says otherwise.
pub const LIBXDP_PINS: &str = "/sys/fs/bpf/xdp";
