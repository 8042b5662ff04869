//! Settings of the daemon. Flags override environment variables, which override the file, which overrides defaults.

mod file;
mod folders;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bpfman_model::{CpuShare, KeptShare};
use bpfmand_cage::{CageMode, DEFAULT_MEMORY, WritableFolders};
use bpfmand_engine::{
    CountersMode, DEFAULT_MAP_BYTES, DEFAULT_OWNERS_MAP_BYTES, OwnerBudget, TrapLimit, XdpModes,
};
use bpfmand_image::{Bounds, LegacySigning, RegistrySettings};
use bpfmand_journal::JournalSettings;
use bpfmand_kernel::linux::DEFAULT_POD_LOGS;
use bpfmand_kernel::{Probe, XdpMode};
use bpfmand_store::EngineKind;

use crate::arguments::DaemonArguments;
use crate::config::file::ConfigFile;
use crate::csi_settings::CsiSettings;
use crate::load_gate::GateSettings;
use crate::metrics_settings::MetricsSettings;
use crate::policy::file::read_root_file;
use crate::radar::RadarObject;
use crate::{group, journal_settings, registries};

pub use self::folders::Folders;

const CONFIG: &str = "/etc/bpfman/bpfman.toml";
pub const POLICY: &str = "/etc/bpfman/policy.toml";
pub const STATE: &str = "/var/lib/bpfman";
/// User id of the worker processes, from a range that systemd's table of users lists as unused.
const DEFAULT_WORKERS_USER: u32 = 60_919;

#[derive(Debug)]
pub struct Config {
    pub runtime: PathBuf,
    pub state: PathBuf,
    pub images: PathBuf,
    pub socket: PathBuf,
    /// Group with access to the socket; `None` for the daemon's own.
    pub socket_group: Option<u32>,
    pub node_agent_user: Option<u32>,
    /// The kubelet's folder of logs of pods, as a path of the node.
    pub pod_logs: PathBuf,
    /// Path of the policy file, and whether it must exist.
    pub policy: (PathBuf, bool),
    pub signing: LegacySigning,
    pub registries: RegistrySettings,
    pub image_bounds: Bounds,
    pub auth_users: BTreeSet<u32>,
    pub xdp_modes: XdpModes,
    /// True to attach `tc` programs by clsact instead of tcx.
    pub tc_by_clsact: bool,
    pub counters: CountersMode,
    /// Maximum cost of one owner's members on one hook.
    pub owner_budget: OwnerBudget,
    /// Maximum kernel memory of the maps of one load, in bytes.
    pub map_bytes: u64,
    /// Maximum kernel memory of all maps of one owner that is neither root nor a cluster application, in bytes.
    pub map_bytes_of_owner: u64,
    /// Maximum kernel memory of the maps of all these owners together, in bytes; `None` for no limit.
    pub map_bytes_of_owners: Option<u64>,
    /// Places that are kept for root and the cluster.
    pub kept: KeptShare,
    pub cpu_window: Duration,
    /// Limit of the breakpoints of a tenant's probes; `None` for no limit.
    pub traps: Option<TrapLimit>,
    pub store: EngineKind,
    /// Interval at which hooks are compared with the records; `None` for never.
    pub check: Option<Duration>,
    pub allow_private_mounts: bool,
    pub idle: Option<Duration>,
    pub log: String,
    pub log_as_json: bool,
    pub csi: Option<CsiSettings>,
    pub seccomp: CageMode,
    /// True if Landlock restricts image threads to the cache, and workers further.
    pub landlock: bool,
    pub workers_user: u32,
    /// Maximum memory of the daemon itself, in bytes; 0 for no limit.
    pub memory: u64,
    pub journal: JournalSettings,
    pub metrics: MetricsSettings,
    pub gate: Option<GateSettings>,
    pub radar: Option<RadarObject>,
    pub without: Vec<&'static Probe>,
}

impl Config {
    pub fn read(arguments: &DaemonArguments) -> anyhow::Result<Self> {
        let path = arguments.config.as_deref().unwrap_or(Path::new(CONFIG));
        // The file can disable signature verification: write access to it would permit loading any program.
        let text = match read_root_file(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && arguments.config.is_none() => {
                String::new()
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read configuration {}", path.display()));
            }
        };
        let file: ConfigFile = toml::from_str(&text)
            .with_context(|| format!("configuration {} is not understood", path.display()))?;
        Self::merge(arguments, file)
    }

    fn merge(arguments: &DaemonArguments, file: ConfigFile) -> anyhow::Result<Self> {
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
            pod_logs: pod_logs(file.kubernetes.pod_logs_dir)?,
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
            kept: kept_share(file.limits.kept_share.as_deref())?,
            cpu_window: cpu_window(file.limits.cpu_window_seconds)?,
            traps: trap_limit(file.limits.probe_share.as_deref(), file.limits.probe_trap_ns)?,
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
            workers_user: match (file.cage.helpers.as_deref(), file.cage.helpers_user) {
                (_, Some(0)) => {
                    bail!("configuration: cage.helpers_user 0 is root, who is not to read what others wrote")
                }
                (None | Some("on"), user) => user.unwrap_or(DEFAULT_WORKERS_USER),
                (Some(other), _) => bail!(
                    "configuration: cage.helpers \"{other}\": workers are a program of their own, which cannot be \
                     switched off; remove the line"
                ),
            },
            journal,
            metrics: file.metrics.settings(&arguments.socket_path)?,
            gate: file.gate.settings()?,
            radar: file.radar.settings()?,
            memory: file.cage.memory_mib.map_or(DEFAULT_MEMORY, |mib| mib.saturating_mul(1 << 20)),
        })
    }

    pub fn image_folders(&self) -> Option<WritableFolders> {
        self.landlock.then(|| WritableFolders::new(vec![self.images.clone()]))
    }

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

fn trap_limit(share: Option<&str>, nanoseconds: Option<u64>) -> anyhow::Result<Option<TrapLimit>> {
    const DEFAULT: CpuShare = CpuShare(100_000);
    const DEFAULT_NANOSECONDS: u64 = 2_000;
    const MAX_NANOSECONDS: u64 = 1_000_000;
    let nanoseconds = nanoseconds.unwrap_or(DEFAULT_NANOSECONDS);
    if !(1..=MAX_NANOSECONDS).contains(&nanoseconds) {
        bail!("configuration: limits.probe_trap_ns {nanoseconds} is not between 1 and {MAX_NANOSECONDS}");
    }
    let share = match share {
        None => DEFAULT,
        Some("off") => return Ok(None),
        Some(text) => text
            .parse()
            .map_err(|error| anyhow::anyhow!("configuration: limits.probe_share: {error}, or \"off\""))?,
    };
    Ok(Some(TrapLimit { share, nanoseconds }))
}

fn kept_share(text: Option<&str>) -> anyhow::Result<KeptShare> {
    let Some(text) = text else { return Ok(KeptShare::default()) };
    text.parse().map_err(|error| anyhow::anyhow!("configuration: limits.kept_share: {error}"))
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

fn pod_logs(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let folder = given.unwrap_or_else(|| PathBuf::from(DEFAULT_POD_LOGS));
    if !folder.is_absolute() {
        bail!("configuration: kubernetes.pod_logs_dir \"{}\" is no absolute path", folder.display());
    }
    Ok(folder)
}

/// Returns the mode that a chain must have; `None` for the driver's, with the network stack's as the fallback.
fn xdp_mode(name: &str) -> anyhow::Result<Option<XdpMode>> {
    Ok(match name {
        // "drv" of v0.6.0 falls back to "skb" as well.
        "drv" => None,
        "skb" => Some(XdpMode::Generic),
        "hw" => Some(XdpMode::Offload),
        other => bail!("configuration: xdp_mode \"{other}\" is none of \"drv\", \"skb\", \"hw\""),
    })
}

#[cfg(test)]
mod tests;
