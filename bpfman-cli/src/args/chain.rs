//! `bpfman chain`, `bpfman explain` and `bpfman debug`: inspection of hooks, and their switches.

use std::path::PathBuf;
use std::time::Duration;

use bpfman_model::{BadCgroupPath, BadHook, CgroupPath, HookName, Optimisation};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};

use super::top::interval;
use super::value::PacketBytes;
use super::watch::WatchFlag;

/// Chain commands.
#[derive(Debug, Subcommand)]
pub enum ChainCommand {
    /// List the hooks that have a chain.
    List(WatchFlag),
    /// Show all programs at a hook, also those of other tools, in the order in which packets reach them.
    Show(ShowChain),
    /// Show a chain live: its packets, and the verdicts and times of its programs.
    Watch(WatchChain),
    /// Build the chain again and compare it with what the kernel runs.
    Verify {
        #[command(flatten)]
        at: AtHook,
    },
    /// Run packets through the programs of a hook, one by one and as a chain, without sending them.
    Trace(Trace),
    /// Switch the counters of verdicts at a hook on or off.
    Counters(SwitchHook),
    /// Switch the sampling of run times at a hook on or off.
    Timing(SwitchHook),
    /// Keep the empty chain attached when the last program leaves the hook, or detach it.
    Keep(SwitchHook),
    /// Set the optimisation level of the chain at a hook.
    #[command(alias = "optimize")]
    Optimise(OptimiseHook),
}

/// Hook flags.
#[derive(Args, Clone, Debug)]
pub struct AtHook {
    /// xdp:IFACE, tc:IFACE:ingress|egress or tcx:IFACE:ingress|egress; in another network namespace with @/PATH.
    #[arg(value_name = "HOOK")]
    pub hook: HookName,
}

/// `bpfman chain show`.
#[derive(Args, Debug)]
pub struct ShowChain {
    #[command(flatten)]
    pub at: AtHook,
    /// Measure rates for this many milliseconds, at most 60000. Default with --watch: 1000.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub sample: Option<u32>,
    /// Show the chain again and again, until interrupted.
    #[arg(short, long)]
    pub watch: bool,
}

/// `bpfman chain watch`.
#[derive(Args, Debug)]
pub struct WatchChain {
    #[command(flatten)]
    pub at: AtHook,
    /// Time between readings: 100ms to 60s.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
    /// End after this number of readings. Default: at Ctrl-C.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Sample the time of each program meanwhile, as `chain timing HOOK on` does.
    #[arg(long)]
    pub timing: bool,
}

/// `bpfman chain trace`.
#[derive(Args, Debug)]
pub struct Trace {
    #[command(flatten)]
    pub at: AtHook,
    /// Packets to run.
    #[command(flatten)]
    pub packets: Packets,
    /// Mark (skb->mark) that the packets have (tc).
    #[arg(long, value_name = "NUMBER", default_value_t)]
    pub mark: u32,
    /// Write the packets that pass the chain, as it changed them, to this file.
    #[arg(long, value_name = "FILE.pcap")]
    pub out: Option<PathBuf>,
    /// Also run programs that may send packets themselves (bpf_clone_redirect, tail calls, adopted programs).
    #[arg(long)]
    pub for_real: bool,
}

/// Packets, given or captured.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub struct Packets {
    /// A packet from its Ethernet header on, in hexadecimal digits; repeat the flag for several.
    #[arg(long, value_name = "HEX")]
    pub packet: Vec<PacketBytes>,
    /// A capture of Ethernet packets, pcap or pcapng; repeat the flag for several.
    #[arg(long, value_name = "FILE")]
    pub pcap: Vec<PathBuf>,
}

/// A switch of one hook.
#[derive(Args, Debug)]
pub struct SwitchHook {
    #[command(flatten)]
    pub at: AtHook,
    /// New position of the switch.
    #[arg(value_enum)]
    pub to: Switch,
}

/// `bpfman chain optimise`.
#[derive(Args, Debug)]
pub struct OptimiseHook {
    #[command(flatten)]
    pub at: AtHook,
    /// Highest level. If the verifier refuses it, the daemon uses a lower one.
    #[arg(value_name = "LEVEL", value_parser = optimisation())]
    pub level: Optimisation,
}

fn optimisation() -> impl TypedValueParser<Value = Optimisation> {
    let helps = Optimisation::ALL.map(|level| {
        PossibleValue::new(level.name()).help(match level {
            Optimisation::None => "Programs run as they were loaded",
            Optimisation::Fold => "Read-only data becomes a part of the instructions (default)",
            Optimisation::Share => "Headers are parsed once for all programs, too",
        })
    });
    PossibleValuesParser::new(helps)
        .try_map(|name| Optimisation::of_name(&name).ok_or("no level of optimisation"))
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// From now on.
    On,
    /// No longer.
    Off,
}

impl Switch {
    #[must_use]
    pub const fn is_on(self) -> bool {
        matches!(self, Self::On)
    }
}

/// `bpfman explain`.
#[derive(Args, Debug)]
pub struct Explain {
    /// Hook of a chain, or cgroup:/PATH for the order of the programs of a cgroup.
    #[arg(value_name = "HOOK", value_parser = explained_place)]
    pub place: ExplainedPlace,
    /// Function name or link id of one program. Default: all programs.
    pub member: Option<String>,
    #[command(flatten)]
    pub watch: WatchFlag,
}

/// Place that `bpfman explain` describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExplainedPlace {
    /// Hook of a chain.
    Hook(HookName),
    /// Cgroup.
    Cgroup(CgroupPath),
}

fn explained_place(text: &str) -> Result<ExplainedPlace, String> {
    match text.strip_prefix("cgroup:") {
        Some(path) => {
            path.parse().map(ExplainedPlace::Cgroup).map_err(|error: BadCgroupPath| error.to_string())
        }
        None => text.parse().map(ExplainedPlace::Hook).map_err(|error: BadHook| error.to_string()),
    }
}

/// Commands for debugging a running chain.
#[derive(Debug, Subcommand)]
pub enum DebugCommand {
    /// Refuse changes of a hook's chain until it is released, at most for an hour or `--ttl`.
    #[command(alias = "hold")]
    Freeze {
        #[command(flatten)]
        at: AtHook,
        /// Release it after this time: a number and s, m, h or d; at most a day. Default: an hour.
        #[arg(long, value_name = "TIME", value_parser = super::image::age)]
        ttl: Option<std::time::Duration>,
    },
    /// Release a frozen chain: allow changes again.
    Release {
        #[command(flatten)]
        at: AtHook,
    },
    /// Compile each program of the chain into a separate function, which tracing tools can see.
    Subprograms(SwitchHook),
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, CliCommand};

    fn parse(line: &str) -> Result<CliCommand, clap::Error> {
        Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
    }

    #[test]
    fn showing_can_measure_and_watch() {
        let show = |line: &str| match parse(line) {
            Ok(CliCommand::Chain(ChainCommand::Show(show))) => (show.sample, show.watch),
            other => panic!("{other:?}"),
        };
        assert_eq!(show("bpfman chain show xdp:eth0"), (None, false));
        assert_eq!(show("bpfman chain show xdp:eth0 --watch --sample 250"), (Some(250), true));
    }

    #[test]
    fn watching_continues_without_a_count() {
        let watch = |line: &str| match parse(line) {
            Ok(CliCommand::Chain(ChainCommand::Watch(watch))) => (watch.interval, watch.count, watch.timing),
            other => panic!("{other:?}"),
        };
        assert_eq!(watch("bpfman chain watch xdp:eth0"), (Duration::from_secs(1), None, false));
        let line = "bpfman chain watch xdp:eth0 --interval 200ms --count 3 --timing";
        assert_eq!(watch(line), (Duration::from_millis(200), Some(3), true));
        for wrong in ["--count 0", "--interval 1ms", "--interval soon"] {
            assert!(parse(&format!("bpfman chain watch xdp:eth0 {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_trace_needs_packets() {
        let Ok(CliCommand::Chain(ChainCommand::Trace(trace))) =
            parse("bpfman chain trace tc:eth0:ingress --packet 00:01 --packet 0203 --pcap a --mark 7")
        else {
            panic!()
        };
        assert_eq!((trace.packets.packet.len(), trace.packets.pcap.len(), trace.mark), (2, 1, 7));
        assert!(parse("bpfman chain trace xdp:eth0").is_err());
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in [
            "bpfman chain show eth0",
            "bpfman chain show xdp:eth0 --sample 0",
            "bpfman chain show xdp:eth0 --sample 60001",
            "bpfman chain counters xdp:eth0",
            "bpfman chain counters xdp:eth0 maybe",
            "bpfman chain trace xdp:eth0 --packet 0x00",
            "bpfman chain trace xdp:eth0 --packet 000",
            "bpfman debug freeze",
            "bpfman explain",
            "bpfman explain cgroup:web",
            "bpfman explain cgroup:",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
