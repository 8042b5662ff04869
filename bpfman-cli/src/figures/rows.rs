//! The rows of `bpfman top`. What JSON and YAML show of them is an interface (`docs/cli.md`).

use serde::Serialize;

/// What happened between two readings.
#[derive(Clone, Debug, Serialize)]
pub struct FigureRates {
    /// Between the readings.
    pub seconds: f64,
    /// Whether the kernel timed runs meanwhile: without, nothing has a CPU time.
    pub runs_timed: bool,
    /// Why it did not.
    pub note: Option<String>,
    /// What all programs that are shown, and their chains, took: percent of one CPU.
    pub cpu_percent: Option<f64>,
    /// By CPU time, most first.
    pub programs: Vec<ProgramRates>,
    /// By hook.
    pub chains: Vec<ChainRates>,
    /// By id.
    pub maps: Vec<MapMemory>,
    /// By CPU time, most first.
    pub owners: Vec<OwnerRates>,
}

/// A program.
#[derive(Clone, Debug, Serialize)]
pub struct ProgramRates {
    /// Kernel id.
    pub program_id: u32,
    /// Function name.
    pub name: String,
    /// Exact type; of programs of others the kernel's.
    #[serde(rename = "type")]
    pub program_type: String,
    /// Whether the daemon loaded it.
    pub managed: bool,
    /// Whose it is; null for programs of others.
    pub owner: Option<String>,
    /// Application in its metadata.
    pub application: Option<String>,
    /// Reference of its image.
    pub image: Option<String>,
    /// Digest of that.
    pub image_digest: Option<String>,
    /// Percent of one CPU, its parts in chains among them as far as these are known; null where nothing of it is known.
    pub cpu_percent: Option<f64>,
    /// Some of its runs are in chains of several programs whose timing is off: their time is not in `cpu_percent`.
    pub is_partly_timed: bool,
    /// Runs by itself and in chains that count.
    pub runs_per_second: Option<f64>,
    /// Mean of the runs whose time is known.
    pub nanoseconds_per_run: Option<f64>,
    /// Events that it missed because it was running already.
    pub missed_per_second: Option<f64>,
    /// Memory of the kernel for the program itself.
    pub memory_bytes: u64,
    /// Machine code.
    pub jited_bytes: u32,
    /// Instructions that the verifier went through.
    pub verified_instructions: u32,
    /// RFC 3339, UTC.
    pub loaded_at: String,
    /// Where it is attached.
    pub places: Vec<String>,
}

/// A chain.
#[derive(Clone, Debug, Serialize)]
pub struct ChainRates {
    /// As commands name it.
    pub hook: String,
    /// `xdp`, `tcx` or `clsact`.
    pub mode: String,
    /// How its programs were put together.
    pub strategy: String,
    /// Percent of one CPU.
    pub cpu_percent: Option<f64>,
    /// Packets that came to it.
    pub packets_per_second: Option<f64>,
    /// Mean of the whole chain.
    pub nanoseconds_per_packet: Option<f64>,
    /// Whether it counts packets by member.
    pub counters: bool,
    /// Whether it times its members.
    pub timing: bool,
    /// Packets for which every member proceeded; null without counters.
    pub all_proceeded_per_second: Option<f64>,
    /// Packets that a tail call lost; null without counters.
    pub failed_per_second: Option<f64>,
    /// In the order they run.
    pub members: Vec<MemberRates>,
}

/// A member of a chain.
#[derive(Clone, Debug, Serialize)]
pub struct MemberRates {
    /// Link id.
    pub link_id: u32,
    /// Kernel id of the program.
    pub program_id: u32,
    /// Function name.
    pub program_name: String,
    /// Whose it is.
    pub owner: String,
    /// Digest of its image.
    pub image_digest: Option<String>,
    /// Its verdicts do not count.
    pub shadow: bool,
    /// Packets that reached it; null without counters.
    pub packets_per_second: Option<f64>,
    /// Of those that were timed between the readings; of all since the chain runs where none was. Null without timing.
    pub nanoseconds_per_run: Option<f64>,
    /// Packets whose way ended with it, by verdict, most first; of a shadow, what it answered.
    pub ended: Vec<VerdictRate>,
}

/// How often a member answered something.
#[derive(Clone, Debug, Serialize)]
pub struct VerdictRate {
    /// `drop`, `shot`…
    pub verdict: String,
    /// Packets.
    pub per_second: f64,
}

/// A map.
#[derive(Clone, Debug, Serialize)]
pub struct MapMemory {
    /// Kernel id.
    pub map_id: u32,
    /// Name in the object.
    pub name: String,
    /// `hash`, `array`…
    #[serde(rename = "type")]
    pub map_type: String,
    /// Memory of the kernel, a minute old at most.
    pub memory_bytes: u64,
    /// Most entries.
    pub max_entries: u32,
    /// Whose programs use it.
    pub owners: Vec<String>,
    /// Kernel ids of these.
    pub programs: Vec<u32>,
}

/// An owner.
#[derive(Clone, Debug, Serialize)]
pub struct OwnerRates {
    /// `root`, `user:1000`…; empty: programs of others.
    pub owner: String,
    /// How many programs.
    pub programs: usize,
    /// Percent of one CPU of all of them, as far as it is known.
    pub cpu_percent: Option<f64>,
    /// Some of their time is not known.
    pub is_partly_timed: bool,
    /// Runs of all of them.
    pub runs_per_second: Option<f64>,
    /// Memory of programs and maps. A map that several use counts for each.
    pub memory_bytes: u64,
    /// Maps that they use.
    pub maps: usize,
}

impl ProgramRates {
    /// What it is sorted by: one that runs, nobody knows for how long, comes before those that take nothing.
    #[must_use]
    pub fn cpu_order(&self) -> f64 {
        let runs = self.runs_per_second.is_some_and(|rate| rate > 0.0);
        self.cpu_percent.unwrap_or(if runs { f64::MIN_POSITIVE } else { -1.0 })
    }
}
