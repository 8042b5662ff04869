//! `bpfman chain`, `bpfman explain` and `bpfman debug`: what looks at hooks, and switches them.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::value::PacketBytes;
use crate::hook::Hook;

/// What to do with chains.
#[derive(Debug, Subcommand)]
pub enum ChainCommand {
    /// List the hooks that have a chain.
    List,
    /// Draw all that runs at a hook, ours and others', in the order that packets meet it.
    Show(ShowChain),
    /// Build the chain again from its programs and compare it with what the kernel runs.
    Verify {
        /// Which hook.
        #[command(flatten)]
        at: AtHook,
    },
    /// Run packets through the programs of a hook, one by one and as a chain, without sending them.
    Trace(Trace),
    /// Count verdicts at a hook, or stop counting.
    Counters(SwitchHook),
    /// Sample how long each program takes, or stop sampling.
    Timing(SwitchHook),
    /// Keep an empty chain attached when the last program leaves the hook, or do not.
    Keep(SwitchHook),
}

/// Which hook.
#[derive(Args, Clone, Debug)]
pub struct AtHook {
    /// xdp:IFACE, tc:IFACE:ingress|egress or tcx:IFACE:ingress|egress; in another network namespace with @/PATH.
    #[arg(value_name = "HOOK")]
    pub hook: Hook,
}

/// `bpfman chain show`.
#[derive(Args, Debug)]
pub struct ShowChain {
    /// Which hook.
    #[command(flatten)]
    pub at: AtHook,
    /// Measure rates over so many milliseconds, at most 60000; with --watch 1000 unless said otherwise.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub sample: Option<u32>,
    /// Show it again and again, until interrupted.
    #[arg(short, long)]
    pub watch: bool,
}

/// `bpfman chain trace`.
#[derive(Args, Debug)]
pub struct Trace {
    /// Which hook.
    #[command(flatten)]
    pub at: AtHook,
    /// What to run.
    #[command(flatten)]
    pub packets: Packets,
    /// The mark that packets come with (tc).
    #[arg(long, value_name = "NUMBER", default_value_t)]
    pub mark: u32,
    /// Write the packets that the chain lets go on, as it leaves them, to this file.
    #[arg(long, value_name = "FILE.pcap")]
    pub out: Option<PathBuf>,
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
    /// Which hook.
    #[command(flatten)]
    pub at: AtHook,
    /// To which position.
    #[arg(value_enum)]
    pub to: Switch,
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
    /// True for on.
    #[must_use]
    pub const fn is_on(self) -> bool {
        matches!(self, Self::On)
    }
}

/// `bpfman explain`.
#[derive(Args, Debug)]
pub struct Explain {
    /// Which hook.
    #[command(flatten)]
    pub at: AtHook,
    /// Function name or link id of one program; all of them without it.
    pub member: Option<String>,
}

/// What helps people who look into a running chain.
#[derive(Debug, Subcommand)]
pub enum DebugCommand {
    /// Refuse changes of a hook's chain, so that it stays as it is while someone looks at it.
    #[command(alias = "hold")]
    Freeze {
        /// Which hook.
        #[command(flatten)]
        at: AtHook,
    },
    /// Allow changes of a frozen chain again.
    Release {
        /// Which hook.
        #[command(flatten)]
        at: AtHook,
    },
    /// Compile each program into a function of its own, so that tracing tools see it; or do not.
    Subprograms(SwitchHook),
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
    }

    #[test]
    fn showing_can_measure_and_watch() {
        let show = |line: &str| match parse(line) {
            Ok(Command::Chain(ChainCommand::Show(show))) => (show.sample, show.watch),
            other => panic!("{other:?}"),
        };
        assert_eq!(show("bpfman chain show xdp:eth0"), (None, false));
        assert_eq!(show("bpfman chain show xdp:eth0 --watch --sample 250"), (Some(250), true));
    }

    #[test]
    fn a_trace_needs_packets() {
        let Ok(Command::Chain(ChainCommand::Trace(trace))) =
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
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
