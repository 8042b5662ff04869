use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use bpfmand_image::LegacySigning;
use serde::Deserialize;

use crate::csi_settings::CsiTable;
use crate::journal_settings::JournalTable;
use crate::load_gate::GateTable;
use crate::metrics_settings::MetricsTable;
use crate::radar::RadarTable;
use crate::registries::{ImagesTable, RegistryTable};

/// Contents of `bpfman.toml`. Unknown keys are ignored: files of other versions have others.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConfigFile {
    pub(super) interfaces: BTreeMap<String, InterfaceTable>,
    pub(super) signing: LegacySigning,
    pub(super) socket: SocketTable,
    pub(super) store: StoreTable,
    pub(super) tc: TcTable,
    pub(super) chains: ChainsTable,
    pub(super) maps: MapsTable,
    pub(super) limits: LimitsTable,
    pub(super) watch: WatchTable,
    pub(super) kernel: KernelTable,
    pub(super) kubernetes: KubernetesTable,
    pub(super) logging: LoggingTable,
    pub(super) csi: CsiTable,
    pub(super) cage: CageTable,
    pub(super) journal: JournalTable,
    pub(super) metrics: MetricsTable,
    pub(super) gate: GateTable,
    pub(super) radar: RadarTable,
    pub(super) images: ImagesTable,
    pub(super) registries: BTreeMap<String, RegistryTable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct InterfaceTable {
    pub(super) xdp_mode: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SocketTable {
    pub(super) group: Option<NameOrNumber>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum NameOrNumber {
    Number(u32),
    Name(String),
}

impl fmt::Display for NameOrNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StoreTable {
    pub(super) engine: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TcTable {
    pub(super) attach: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchTable {
    pub(super) check_seconds: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KernelTable {
    pub(super) without: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KubernetesTable {
    pub(super) pod_logs_dir: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ChainsTable {
    pub(super) counters: Option<String>,
    pub(super) owner_members: Option<u64>,
    pub(super) owner_verified_insns: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MapsTable {
    pub(super) mib_per_load: Option<u64>,
    pub(super) mib_per_owner: Option<u64>,
    pub(super) mib_of_owners: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LimitsTable {
    pub(super) cpu_window_seconds: Option<f64>,
    pub(super) probe_share: Option<String>,
    pub(super) probe_trap_ns: Option<u64>,
    pub(super) kept_share: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoggingTable {
    pub(super) level: Option<String>,
    pub(super) format: Option<String>,
}

/// Parts of the sandbox that root switches off, to find out whether one causes a problem.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CageTable {
    pub(super) seccomp: Option<String>,
    pub(super) landlock: Option<String>,
    pub(super) helpers: Option<String>,
    pub(super) helpers_user: Option<u32>,
    pub(super) memory_mib: Option<u64>,
}
