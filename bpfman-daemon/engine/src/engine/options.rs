use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bpfman_model::KeptShare;
use bpfmand_kernel::XdpMode;
use bpfmand_store::Store;

use crate::engine::bytecode::{Images, NoImages};
use crate::engine::objects::{ReadHere, ReadObjects};
use crate::engine::steps::{NoObserver, StepObserver};

/// XDP modes by interface name, for interfaces that the configuration names.
pub type XdpModes = BTreeMap<String, XdpMode>;

/// Configuration of an engine, except its kernel.
pub struct EngineOptions {
    /// Folder of the object files that the store refers to.
    pub bytecode_folder: PathBuf,
    pub store: Store,
    /// Source of images.
    pub images: Arc<dyn Images>,
    /// Reader of object files.
    pub objects: Arc<dyn ReadObjects>,
    /// Observer of the steps of operations.
    pub observer: Arc<dyn StepObserver>,
    /// XDP modes by interface. Elsewhere chains run in the driver, or in the generic mode if the driver refuses.
    pub xdp_modes: XdpModes,
    /// Attach `tc` programs by clsact filters even where the kernel has tcx.
    pub tc_by_clsact: bool,
    /// Counting in chains where packets leave them.
    pub counters: CountersMode,
    /// Limits of one owner's members on one hook.
    pub owner_budget: OwnerBudget,
    /// Maximum kernel memory of the maps of one load, in bytes.
    pub map_bytes: u64,
    /// Maximum map memory of an owner other than root and cluster applications, in bytes; `None`: no limit.
    pub map_bytes_of_owner: Option<u64>,
    /// Maximum kernel memory of the maps of all these owners together, in bytes; `None`: no limit.
    pub map_bytes_of_owners: Option<u64>,
    /// Share of connections, attachments and places of hooks that is kept for root and the cluster.
    pub kept: KeptShare,
    pub libxdp_pins: PathBuf,
    /// Approximate maximum size of one record of leftovers, in bytes; larger lists are split.
    pub leftover_bytes: usize,
    /// Maximum time that a list waits for entries that are being changed.
    pub observation_wait: Duration,
    /// Index of the packet, among each 1,024, that goes through timed twins: random, so that members cannot know it.
    pub timed_packet: u16,
}

/// Maximum size of a record of leftovers, well below the store's limit: the size is only estimated.
const LEFTOVER_BYTES: usize = bpfmand_store::MAX_VALUE / 2;

/// Maximum wait for an entry that is being changed. A change of a hook takes milliseconds.
const OBSERVATION_WAIT: Duration = Duration::from_secs(2);

impl EngineOptions {
    /// Creates options without images, observer or configuration; objects are read in this process.
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
            kept: KeptShare::default(),
            libxdp_pins: PathBuf::from(crate::engine::LIBXDP_PINS),
            leftover_bytes: LEFTOVER_BYTES,
            observation_wait: OBSERVATION_WAIT,
            timed_packet: 0,
        }
    }
}

/// Default for counting in chains where packets leave them; the switch of a hook takes precedence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CountersMode {
    /// Only chains that are spliced anyway count.
    #[default]
    Auto,
    /// All chains count: a lone member is spliced with the counters, which costs 1 to 3 ns per packet.
    On,
    /// No chain counts.
    Off,
}

/// Limits of one owner's members on one hook. An owner is a user with the application that the link names, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnerBudget {
    /// Maximum number of members; `None`: as many as a chain allows.
    pub members: Option<u64>,
    /// Maximum sum of the instructions that the verifier processed when each member was loaded alone; `None`: no limit.
    pub verified_insns: Option<u64>,
}

/// Default of `maps.mib_per_load`, in bytes: 1 GiB.
pub const DEFAULT_MAP_BYTES: u64 = 1 << 30;

/// Default of `maps.mib_per_owner`, in bytes: 2 GiB.
pub const DEFAULT_OWNERS_MAP_BYTES: u64 = 2 << 30;

/// Folder of libxdp's pins, unless `LIBXDP_BPFFS` names another.
pub const LIBXDP_PINS: &str = "/sys/fs/bpf/xdp";
