//! Where everything is, and how the daemon behaves: flags over environment over file over defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bpfmand_cage::{CageMode, DEFAULT_MEMORY, WritableFolders};
use bpfmand_engine::{CountersMode, DEFAULT_MAP_BYTES, DEFAULT_OWNERS_MAP_BYTES, OwnerBudget, XdpModes};
use bpfmand_image::{Bounds, LegacySigning, RegistrySettings};
use bpfmand_journal::JournalSettings;
use bpfmand_kernel::{Probe, XdpMode};
use bpfmand_store::EngineKind;
use serde::Deserialize;

use crate::arguments::DaemonArguments;
use crate::csi_settings::{CsiSettings, CsiTable};
use crate::group;
use crate::journal_settings::{self, JournalTable};
use crate::load_gate::{GateSettings, GateTable};
use crate::metrics_settings::{MetricsSettings, MetricsTable};
use crate::policy::file::read_root_file;
use crate::radar::{RadarObject, RadarTable};
use crate::registries::{self, ImagesTable, RegistryTable};

const CONFIG: &str = "/etc/bpfman/bpfman.toml";
pub const POLICY: &str = "/etc/bpfman/policy.toml";
const RUNTIME: &str = "/run/bpfman";
pub const STATE: &str = "/var/lib/bpfman";
/// Among the numbers that systemd's table of users calls unused: nobody's but theirs.
const DEFAULT_HELPERS_USER: u32 = 60_919;

/// All that the daemon has to know before it starts.
#[derive(Debug)]
pub struct Config {
    /// Folder of the bpffs.
    pub runtime: PathBuf,
    /// Folder of records and bytecode.
    pub state: PathBuf,
    /// Folder of images.
    pub images: PathBuf,
    /// Where to listen.
    pub socket: PathBuf,
    /// The group that may use the socket; none: the daemon's own.
    pub socket_group: Option<u32>,
    /// The user of the node agent, if there is one.
    pub node_agent_user: Option<u32>,
    /// The policy file, and whether it has to exist.
    pub policy: (PathBuf, bool),
    /// v0.6.0's two keys.
    pub signing: LegacySigning,
    /// How registries are reached.
    pub registries: RegistrySettings,
    /// How much of images is kept.
    pub image_bounds: Bounds,
    /// Users who may use the passwords of this machine.
    pub auth_users: BTreeSet<u32>,
    /// XDP modes by interface.
    pub xdp_modes: XdpModes,
    /// Attach `tc` programs by clsact.
    pub tc_by_clsact: bool,
    /// Whether chains count where packets leave them.
    pub counters: CountersMode,
    /// What the members of one owner may cost on one hook.
    pub owner_budget: OwnerBudget,
    /// Most bytes of kernel memory that the maps of one load may take.
    pub map_bytes: u64,
    /// Most bytes of kernel memory of the maps of one owner that is neither root nor a cluster application.
    pub map_bytes_of_owner: u64,
    /// Most bytes of kernel memory of the maps of all these owners; none: no limit.
    pub map_bytes_of_owners: Option<u64>,
    /// Over how long the CPU time of limited programs is measured.
    pub cpu_window: Duration,
    /// The store's engine.
    pub store: EngineKind,
    /// Compare hooks with the records so often; none: never.
    pub check: Option<Duration>,
    /// Start with a bpffs that ends with the mount namespace of this process.
    pub allow_private_mounts: bool,
    /// End after being idle for so long.
    pub idle: Option<Duration>,
    /// What to log.
    pub log: String,
    /// Log as JSON lines.
    pub log_as_json: bool,
    /// The CSI plugin, if it is asked for.
    pub csi: Option<CsiSettings>,
    /// Whether system calls are filtered.
    pub seccomp: CageMode,
    /// Whether threads for images are held to the cache, and processes without rights to even less.
    pub landlock: bool,
    /// The user of processes without rights; none: the daemon does their work.
    pub helpers: Option<u32>,
    /// Most bytes of memory that the daemon itself may have; 0: no limit.
    pub memory: u64,
    /// The journal of changes and refusals.
    pub journal: JournalSettings,
    /// Where metrics are read.
    pub metrics: MetricsSettings,
    /// The gate in front of the kernel's loader, if it is asked for.
    pub gate: Option<GateSettings>,
    /// The object of the radar, if one is asked for.
    pub radar: Option<RadarObject>,
    /// Features of the kernel to do without.
    pub without: Vec<&'static Probe>,
}

/// `bpfman.toml`. Keys that are not known are left alone: files of other versions have others.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    interfaces: BTreeMap<String, InterfaceTable>,
    signing: LegacySigning,
    socket: SocketTable,
    store: StoreTable,
    tc: TcTable,
    chains: ChainsTable,
    maps: MapsTable,
    limits: LimitsTable,
    watch: WatchTable,
    kernel: KernelTable,
    logging: LoggingTable,
    csi: CsiTable,
    cage: CageTable,
    journal: JournalTable,
    metrics: MetricsTable,
    gate: GateTable,
    radar: RadarTable,
    images: ImagesTable,
    registries: BTreeMap<String, RegistryTable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InterfaceTable {
    xdp_mode: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SocketTable {
    group: Option<NameOrNumber>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum NameOrNumber {
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
struct StoreTable {
    engine: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TcTable {
    attach: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WatchTable {
    check_seconds: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct KernelTable {
    without: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ChainsTable {
    counters: Option<String>,
    owner_members: Option<u64>,
    owner_verified_insns: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MapsTable {
    mib_per_load: Option<u64>,
    mib_per_owner: Option<u64>,
    mib_of_owners: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LimitsTable {
    cpu_window_seconds: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LoggingTable {
    level: Option<String>,
    format: Option<String>,
}

/// What root takes off the cage, to find out whether it is in the way.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CageTable {
    seccomp: Option<String>,
    landlock: Option<String>,
    helpers: Option<String>,
    helpers_user: Option<u32>,
    memory_mib: Option<u64>,
}

impl Config {
    /// Reads the file that the flags name, or the default one if it exists.
    pub fn read(arguments: &DaemonArguments) -> anyhow::Result<Self> {
        let path = arguments.config.as_deref().unwrap_or(Path::new(CONFIG));
        // It can switch signatures off: whoever can write to it could load anything.
        let text = match read_root_file(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && arguments.config.is_none() => {
                String::new()
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read configuration {}", path.display()));
            }
        };
        let file: File = toml::from_str(&text)
            .with_context(|| format!("configuration {} is not understood", path.display()))?;
        Self::merge(arguments, file)
    }

    fn merge(arguments: &DaemonArguments, file: File) -> anyhow::Result<Self> {
        let Folders { runtime, state } = Folders::of(arguments)?;
        let csi = CsiSettings::merge(arguments, file.csi, &runtime)?;
        let journal = journal_settings::settings(&file.journal, &state)?;
        Ok(Self {
            images: arguments.image_cache_dir.clone().unwrap_or_else(|| state.join("images")),
            runtime,
            state,
            socket: arguments.socket_path.clone(),
            socket_group: match (&arguments.socket_group, file.socket.group) {
                (Some(group), _) => Some(group::find(group).context("--socket-group")?),
                (None, Some(group)) => {
                    Some(group::find(&group.to_string()).context("configuration: socket.group")?)
                }
                (None, None) => None,
            },
            node_agent_user: arguments.node_agent_user,
            policy: match &arguments.policy {
                Some(path) => (path.clone(), true),
                None => (PathBuf::from(POLICY), false),
            },
            signing: file.signing,
            registries: registries::settings(&file.images, file.registries)?,
            image_bounds: registries::bounds(&file.images),
            auth_users: registries::auth_users(&file.images),
            xdp_modes: file
                .interfaces
                .into_iter()
                .filter_map(|(name, table)| table.xdp_mode.map(|mode| (name, mode)))
                .filter_map(|(name, mode)| {
                    xdp_mode(&mode).transpose().map(|mode| mode.map(|mode| (name, mode)))
                })
                .collect::<anyhow::Result<_>>()?,
            tc_by_clsact: match file.tc.attach.as_deref() {
                None | Some("auto") => false,
                Some("clsact") => true,
                Some(other) => {
                    bail!("configuration: tc.attach \"{other}\" is neither \"auto\" nor \"clsact\"")
                }
            },
            counters: match file.chains.counters.as_deref() {
                None | Some("auto") => CountersMode::Auto,
                Some("on") => CountersMode::On,
                Some("off") => CountersMode::Off,
                Some(other) => {
                    bail!("configuration: chains.counters \"{other}\" is none of \"auto\", \"on\", \"off\"")
                }
            },
            owner_budget: OwnerBudget {
                members: file.chains.owner_members,
                verified_insns: file.chains.owner_verified_insns,
            },
            map_bytes: file.maps.mib_per_load.map_or(DEFAULT_MAP_BYTES, bytes_of_mib),
            map_bytes_of_owner: file.maps.mib_per_owner.map_or(DEFAULT_OWNERS_MAP_BYTES, bytes_of_mib),
            map_bytes_of_owners: file.maps.mib_of_owners.map(bytes_of_mib),
            cpu_window: cpu_window(file.limits.cpu_window_seconds)?,
            store: match file.store.engine.as_deref() {
                None => EngineKind::default(),
                Some(name) => {
                    name.parse().map_err(|error| anyhow::anyhow!("configuration: store.engine: {error}"))?
                }
            },
            check: check_period(file.watch.check_seconds)?,
            without: file
                .kernel
                .without
                .iter()
                .map(|name| Probe::named(name))
                .collect::<Result<_, _>>()
                .context("configuration: kernel.without")?,
            allow_private_mounts: arguments.allow_private_mounts,
            idle: (arguments.timeout > 0).then(|| Duration::from_secs(arguments.timeout)),
            log: [arguments.log.clone(), std::env::var("RUST_LOG").ok(), file.logging.level]
                .into_iter()
                .flatten()
                .find(|filter| !filter.is_empty())
                .unwrap_or_else(|| "info".to_owned()),
            log_as_json: match file.logging.format.as_deref() {
                None | Some("text") => false,
                Some("json") => true,
                Some(other) => {
                    bail!("configuration: logging.format \"{other}\" is neither \"text\" nor \"json\"")
                }
            },
            csi,
            seccomp: match file.cage.seccomp.as_deref() {
                None => CageMode::On,
                Some(word) => word.parse().context("configuration: cage.seccomp")?,
            },
            landlock: match file.cage.landlock.as_deref() {
                None | Some("on") => true,
                Some("off") => false,
                Some(other) => {
                    bail!("configuration: cage.landlock \"{other}\" is neither \"on\" nor \"off\"")
                }
            },
            helpers: match (file.cage.helpers.as_deref(), file.cage.helpers_user) {
                (_, Some(0)) => {
                    bail!("configuration: cage.helpers_user 0 is root, who is not to read what others wrote")
                }
                (None | Some("on"), user) => Some(user.unwrap_or(DEFAULT_HELPERS_USER)),
                (Some("off"), _) => None,
                (Some(other), _) => {
                    bail!("configuration: cage.helpers \"{other}\" is neither \"on\" nor \"off\"")
                }
            },
            journal,
            metrics: file.metrics.settings(&arguments.socket_path)?,
            gate: file.gate.settings()?,
            radar: file.radar.settings()?,
            memory: file.cage.memory_mib.map_or(DEFAULT_MEMORY, |mib| mib.saturating_mul(1 << 20)),
        })
    }

    /// Where threads for images write; none: anywhere.
    pub fn image_folders(&self) -> Option<WritableFolders> {
        self.landlock.then(|| WritableFolders::new(vec![self.images.clone()]))
    }

    /// Where the bpffs is mounted.
    pub fn fs(&self) -> PathBuf {
        self.runtime.join("fs")
    }
}

/// Where a daemon has its things: flags and variables say it, no file does.
#[derive(Clone, Debug)]
pub struct Folders {
    /// Folder of the bpffs.
    pub runtime: PathBuf,
    /// Folder of records and bytecode.
    pub state: PathBuf,
}

impl Folders {
    /// As the flags say.
    pub fn of(arguments: &DaemonArguments) -> anyhow::Result<Self> {
        let runtime = arguments.runtime_dir.clone().unwrap_or_else(|| PathBuf::from(RUNTIME));
        let state = match (&arguments.state_dir, &arguments.runtime_dir) {
            (Some(state), _) => state.clone(),
            // So that several daemons with runtime folders of their own never share their records.
            (None, Some(runtime)) => runtime.join("state"),
            (None, None) => PathBuf::from(STATE),
        };
        for (flag, folder) in [("--runtime-dir", &runtime), ("--state-dir", &state)] {
            if !folder.is_absolute() {
                bail!("{flag} \"{}\" is not an absolute path", folder.display());
            }
        }
        Ok(Self { runtime, state })
    }

    /// Where the bpffs is mounted.
    pub fn fs(&self) -> PathBuf {
        self.runtime.join("fs")
    }
}

const fn bytes_of_mib(mib: u64) -> u64 {
    mib.saturating_mul(1 << 20)
}

fn cpu_window(seconds: Option<f64>) -> anyhow::Result<Duration> {
    const DEFAULT: Duration = Duration::from_secs(10);
    const RANGE: std::ops::RangeInclusive<f64> = 0.1..=3600.0;
    match seconds {
        None => Ok(DEFAULT),
        Some(seconds) if RANGE.contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        Some(other) => bail!(
            "configuration: limits.cpu_window_seconds {other} is not between {} and {}",
            RANGE.start(),
            RANGE.end()
        ),
    }
}

fn check_period(seconds: Option<f64>) -> anyhow::Result<Option<Duration>> {
    const DEFAULT: Duration = Duration::from_secs(10);
    const RANGE: std::ops::RangeInclusive<f64> = 0.1..=86_400.0;
    match seconds {
        None => Ok(Some(DEFAULT)),
        Some(0.0) => Ok(None),
        Some(seconds) if RANGE.contains(&seconds) => Ok(Some(Duration::from_secs_f64(seconds))),
        Some(other) => bail!(
            "configuration: watch.check_seconds {other} is neither 0, for never, nor between {} and {}",
            RANGE.start(),
            RANGE.end()
        ),
    }
}

/// Returns the mode that a chain has to have; none for the driver, or the network stack where that refuses.
fn xdp_mode(name: &str) -> anyhow::Result<Option<XdpMode>> {
    Ok(match name {
        // v0.6.0's "drv" falls back to "skb", and so does this.
        "drv" => None,
        "skb" => Some(XdpMode::Generic),
        "hw" => Some(XdpMode::Offload),
        other => bail!("configuration: xdp_mode \"{other}\" is none of \"drv\", \"skb\", \"hw\""),
    })
}

#[cfg(test)]
mod tests;
