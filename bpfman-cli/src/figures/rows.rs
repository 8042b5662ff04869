//! Rows of `bpfman top`. Their JSON and YAML are a stable interface (`docs/cli.md`).

use serde::Serialize;

/// Rates between two readings.
#[derive(Clone, Debug, Serialize)]
pub struct FigureRates {
    /// Time between the readings, in seconds.
    pub seconds: f64,
    /// True if the kernel timed runs; otherwise no CPU times are known.
    pub runs_timed: bool,
    /// Reason why times or counts are missing.
    pub note: Option<String>,
    /// CPU time of all shown programs and their chains, in percent of one CPU.
    pub cpu_percent: Option<f64>,
    /// Programs by CPU time, the highest first.
    pub programs: Vec<ProgramRates>,
    pub chains: Vec<ChainRates>,
    pub maps: Vec<MapMemory>,
    /// Owners by CPU time, the highest first.
    pub owners: Vec<OwnerRates>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ProgramRates {
    pub program_id: u32,
    pub name: String,
    /// Exact type; the kernel's type for third-party programs.
    #[serde(rename = "type")]
    pub program_type: String,
    /// True if the daemon loaded it.
    pub managed: bool,
    /// Owner; null for third-party programs.
    pub owner: Option<String>,
    pub application: Option<String>,
    pub image: Option<String>,
    pub image_digest: Option<String>,
    /// CPU time in percent of one CPU, with its known part in chains; null if nothing is known.
    pub cpu_percent: Option<f64>,
    /// True if `cpu_percent` lacks runs in chains of several programs without timing.
    pub is_partly_timed: bool,
    /// Rate of runs, alone and in chains with counters.
    pub runs_per_second: Option<f64>,
    /// Mean duration of the runs with a known duration.
    pub nanoseconds_per_run: Option<f64>,
    /// Rate of events missed because the program was already running.
    pub missed_per_second: Option<f64>,
    /// Kernel memory of the program itself, in bytes.
    pub memory_bytes: u64,
    /// Size of the machine code, in bytes.
    pub jited_bytes: u32,
    /// Number of instructions that the verifier processed.
    pub verified_instructions: u32,
    /// Time of load (RFC 3339, UTC).
    pub loaded_at: String,
    pub places: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ChainRates {
    /// Hook, by its name in commands.
    pub hook: String,
    /// `xdp`, `tcx` or `clsact`.
    pub mode: String,
    pub strategy: String,
    /// CPU time in percent of one CPU.
    pub cpu_percent: Option<f64>,
    /// Rate of packets that reach the chain.
    pub packets_per_second: Option<f64>,
    /// Mean duration of the whole chain.
    pub nanoseconds_per_packet: Option<f64>,
    /// True if it counts packets by member.
    pub counters: bool,
    /// True if it times its members.
    pub timing: bool,
    /// Rate of packets for which every member proceeded; null without counters.
    pub all_proceeded_per_second: Option<f64>,
    /// Rate of packets lost by a tail call; null without counters.
    pub failed_per_second: Option<f64>,
    /// Members, in the order of execution.
    pub members: Vec<MemberRates>,
}

/// Rates of a member of a chain.
#[derive(Clone, Debug, Serialize)]
pub struct MemberRates {
    pub link_id: u32,
    pub program_id: u32,
    pub program_name: String,
    pub owner: String,
    pub image_digest: Option<String>,
    /// True if the verdicts are ignored.
    pub shadow: bool,
    /// Rate of packets that reached the member; null without counters.
    pub packets_per_second: Option<f64>,
    /// Mean duration of runs timed between the readings, or since the chain was built if none was. Null without timing.
    pub nanoseconds_per_run: Option<f64>,
    /// Rates of packets that ended at the member, by verdict, the highest first; for a shadow, all its verdicts.
    pub ended: Vec<VerdictRate>,
}

#[derive(Clone, Debug, Serialize)]
pub struct VerdictRate {
    /// Verdict: `drop`, `shot`…
    pub verdict: String,
    /// Packets since the member was attached, or since the boot.
    pub packets: u64,
    pub per_second: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct MapMemory {
    pub map_id: u32,
    pub name: String,
    /// Map type: `hash`, `array`…
    #[serde(rename = "type")]
    pub map_type: String,
    /// Kernel memory in bytes, at most a minute old.
    pub memory_bytes: u64,
    pub max_entries: u32,
    /// Owners of the programs that use the map.
    pub owners: Vec<String>,
    /// Kernel ids of the programs that use the map.
    pub programs: Vec<u32>,
}

/// Sums of an owner.
#[derive(Clone, Debug, Serialize)]
pub struct OwnerRates {
    /// `root`, `user:1000`…; empty for third-party programs.
    pub owner: String,
    pub programs: usize,
    /// CPU time of all programs in percent of one CPU, as far as known.
    pub cpu_percent: Option<f64>,
    /// True if a part of the CPU time is unknown.
    pub is_partly_timed: bool,
    /// Rate of runs of all programs.
    pub runs_per_second: Option<f64>,
    /// Memory of programs and maps, in bytes. A map that several owners use counts for each.
    pub memory_bytes: u64,
    pub maps: usize,
}

impl ProgramRates {
    /// Returns the sort key: a program that runs for an unknown time comes before those that do not run.
    #[must_use]
    pub fn cpu_order(&self) -> f64 {
        let runs = self.runs_per_second.is_some_and(|rate| rate > 0.0);
        self.cpu_percent.unwrap_or(if runs { f64::MIN_POSITIVE } else { -1.0 })
    }
}
