//! Configures the pods and networks that packets reach without the host's stack, and shows statistics.

mod changes;
mod features;
mod host;
mod interfaces;
mod netlink;
mod table;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::maps::{MapData, PerCpuArray};
use bpfman_client::MapAccess;
use bpfman_examples::count::{Count, RawCount};
use bpfman_examples::failure::{self, Failure};
use bpfman_examples::prefix::Prefix;
use bpfman_examples::source::MapSource;
use clap::{Parser, Subcommand};
use serde_json::{Value, json};

use crate::host::{Host, InterfaceIndex, Mac};
use crate::table::{Origin, Table, Target};

/// Sets the pods and networks that the loaded pod_fastpath forwards packets to, past the host's stack, and shows its
/// counters
///
/// Interfaces are those of the network namespace that this command runs in: it has to be that of the programs.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    maps: MapSource,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Forward packets to a pod into its namespace, or packets of pods to a network out of an interface
    Add {
        /// Address of a pod, or prefix of a network
        #[arg(value_name = "PREFIX")]
        prefix: Prefix,
        /// The host's end of the pod's veth, or the interface towards the network
        #[arg(value_name = "IFACE")]
        interface: String,
        /// MAC address of the pod, if the host has not learnt it
        #[arg(long, value_name = "MAC")]
        mac: Option<Mac>,
        /// Frames from XDP reach the pod, even if the kernel does not report it (before Linux 6.3 it never does)
        #[arg(long)]
        takes_frames: bool,
    },
    /// Leave packets to these pods and networks to the stack
    Remove {
        #[arg(required = true, value_name = "PREFIX")]
        prefixes: Vec<Prefix>,
    },
    /// Add the pods to which the host has a route of their own, and remove those of an earlier `sync` without one
    Sync {
        /// Frames from XDP reach all these pods, even if the kernel does not report it (before Linux 6.3 it never does)
        #[arg(long)]
        takes_frames: bool,
        /// Repeat at this interval, until Ctrl-C
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
        every: Option<u64>,
    },
    /// Show pods and networks, with the packets that went there
    List {
        /// A JSON array instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Show how many packets went past the stack, and why others did not
    Stats {
        /// A JSON object instead of lines
        #[arg(long)]
        json: bool,
    },
}

/// Order of `enum outcome`.
const OUTCOMES: [&str; 10] = [
    "to_pod",
    "to_network",
    "unknown",
    "foreign_source",
    "expired",
    "too_large",
    "other",
    "not_forwarded",
    "takes_no_frames",
    "dropped",
];
const NO_FRAMES: [u32; 2] = [8, 9];

fn main() -> ExitCode {
    failure::end(run(Arguments::parse()))
}

fn run(Arguments { maps, action }: Arguments) -> Result<()> {
    let mut out = io::stdout().lock();
    match action {
        Action::Add { prefix, interface, mac, takes_frames } => {
            changes::add(&maps, prefix, &interface, mac, takes_frames)
        }
        Action::Remove { prefixes } => remove(&maps, &prefixes),
        Action::Sync { takes_frames, every } => {
            let mut left = BTreeSet::new();
            loop {
                changes::sync(&maps, &mut out, takes_frames, &mut left)?;
                let Some(seconds) = every else { return Ok(()) };
                std::thread::sleep(Duration::from_secs(seconds));
            }
        }
        Action::List { json } => print_table(&maps, &mut out, json),
        Action::Stats { json } => print_stats(&maps, &mut out, json),
    }
}

fn remove(maps: &MapSource, prefixes: &[Prefix]) -> Result<()> {
    let mut table = Table::open(maps, MapAccess::Write)?;
    let mut missing = Vec::new();
    for prefix in prefixes {
        if !table.remove(*prefix)? {
            missing.push(prefix.to_string());
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::not_found(format!("not in the table: {}", missing.join(", ")), "`list` shows all").into())
}

fn print_table(maps: &MapSource, out: &mut impl Write, json: bool) -> Result<()> {
    let (table, host) = (Table::open(maps, MapAccess::Read)?.read()?, Host::read()?);
    let takers = interfaces::taking_frames(maps)?;
    if json {
        let rows = table.iter().map(|(prefix, target)| row(*prefix, target, &host, &takers));
        writeln!(out, "{}", Value::from_iter(rows))?;
        return Ok(());
    }
    for (prefix, target) in &table {
        let interface = host
            .name_of(target.interface)
            .map_or_else(|| format!("gone: {}", target.interface.0), str::to_owned);
        let mac = target.macs.map(|(pod, _)| pod.to_string()).unwrap_or_default();
        writeln!(out, "{:<24} {interface:<16} {mac:<17} {}", prefix.to_string(), target.sent)?;
    }
    let stats: PerCpuArray<MapData, RawCount> = maps.open("stats", MapAccess::Read)?;
    let mut frames_missed = false;
    for slot in NO_FRAMES {
        frames_missed |= count(&stats, slot)?.packets > 0;
    }
    if frames_missed {
        warn_of_pods_without_frames(&table, &host, &takers)?;
    }
    Ok(())
}

fn warn_of_pods_without_frames(
    table: &[(Prefix, Target)],
    host: &Host,
    takers: &BTreeSet<InterfaceIndex>,
) -> Result<()> {
    let pods = table.iter().filter(|(_, target)| target.macs.is_some());
    let ends: BTreeSet<InterfaceIndex> = pods.map(|(_, target)| target.interface).collect();
    for name in ends.difference(takers).filter_map(|end| host.name_of(*end)) {
        writeln!(
            io::stderr(),
            "{name}: the pod's end takes no frames from XDP; `ethtool -K eth0 gro on` in the pod, then `sync`"
        )?;
    }
    Ok(())
}

fn row(prefix: Prefix, target: &Target, host: &Host, takers: &BTreeSet<InterfaceIndex>) -> Value {
    json!({
        "prefix": prefix.to_string(),
        "interface": host.name_of(target.interface),
        "mac": target.macs.map(|(pod, _)| pod.to_string()),
        "takes_frames": target.macs.map(|_| takers.contains(&target.interface)),
        "synced": target.origin == Origin::Synced,
        "packets": target.sent.packets,
        "bytes": target.sent.bytes,
    })
}

fn print_stats(maps: &MapSource, out: &mut impl Write, json: bool) -> Result<()> {
    let stats: PerCpuArray<MapData, RawCount> = maps.open("stats", MapAccess::Read)?;
    let mut object = serde_json::Map::new();
    for (slot, name) in (0..).zip(OUTCOMES) {
        let count = count(&stats, slot)?;
        if json {
            object.insert(name.to_owned(), count.to_json());
        } else {
            writeln!(out, "{name:<16} {count}")?;
        }
    }
    if json {
        writeln!(out, "{}", Value::Object(object))?;
    }
    Ok(())
}

fn count(stats: &PerCpuArray<MapData, RawCount>, slot: u32) -> Result<Count> {
    let cpus = stats.get(&slot, 0).context("cannot read the counters")?;
    Ok(cpus.iter().copied().map(Count::from).sum())
}
