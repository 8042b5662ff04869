//! Says which pods and networks packets reach past the host's stack, and shows what did.

mod changes;
mod host;
mod table;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use aya::maps::{MapData, PerCpuArray};
use bpfman_client::MapAccess;
use bpfman_examples::count::{Count, RawCount};
use bpfman_examples::failure::{self, Failure};
use bpfman_examples::prefix::Prefix;
use bpfman_examples::source::MapSource;
use clap::{Parser, Subcommand};
use serde_json::{Value, json};

use crate::host::{Host, Mac};
use crate::table::{Origin, Table, Target};

/// Says which pods and networks the loaded pod_fastpath brings packets to, past the host's stack, and shows what it did
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
    /// Bring packets to a pod into its namespace, or packets to a network out of an interface
    Add {
        /// An address: a pod's; a shorter prefix: a network
        #[arg(value_name = "PREFIX")]
        prefix: Prefix,
        /// The host's end of the pod's veth, or the interface towards the network
        #[arg(value_name = "IFACE")]
        interface: String,
        /// The pod's own, where the host has not learnt it
        #[arg(long, value_name = "MAC")]
        mac: Option<Mac>,
    },
    /// Leave packets to these pods and networks to the stack
    Remove {
        #[arg(required = true, value_name = "PREFIX")]
        prefixes: Vec<Prefix>,
    },
    /// Add the pods that the host has a route of their own to, and remove those of an earlier `sync` that it no longer has
    Sync,
    /// Show pods and networks with what went there
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

/// What the slots of the map `stats` count, in the order of `enum outcome`.
const OUTCOMES: [&str; 7] =
    ["to_pod", "to_network", "unknown", "foreign_source", "expired", "too_large", "other"];

fn main() -> ExitCode {
    failure::end(run(Arguments::parse()))
}

fn run(Arguments { maps, action }: Arguments) -> Result<()> {
    let mut out = io::stdout().lock();
    match action {
        Action::Add { prefix, interface, mac } => changes::add(&maps, prefix, &interface, mac),
        Action::Remove { prefixes } => remove(&maps, &prefixes),
        Action::Sync => changes::sync(&maps, &mut out),
        Action::List { json } => print_table(&maps, &mut out, json),
        Action::Stats { json } => print_stats(&maps, &mut out, json),
    }
}

/// All that are there, also where others are not.
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
    if json {
        writeln!(
            out,
            "{}",
            Value::from_iter(table.iter().map(|(prefix, target)| row(*prefix, target, &host)))
        )?;
        return Ok(());
    }
    for (prefix, target) in table {
        let interface = host
            .name_of(target.interface)
            .map_or_else(|| format!("gone: {}", target.interface.0), str::to_owned);
        let mac = target.macs.map(|(pod, _)| pod.to_string()).unwrap_or_default();
        writeln!(out, "{:<24} {interface:<16} {mac:<17} {}", prefix.to_string(), target.sent)?;
    }
    Ok(())
}

fn row(prefix: Prefix, target: &Target, host: &Host) -> Value {
    json!({
        "prefix": prefix.to_string(),
        "interface": host.name_of(target.interface),
        "mac": target.macs.map(|(pod, _)| pod.to_string()),
        "synced": target.origin == Origin::Synced,
        "packets": target.sent.packets,
        "bytes": target.sent.bytes,
    })
}

fn print_stats(maps: &MapSource, out: &mut impl Write, json: bool) -> Result<()> {
    let stats: PerCpuArray<MapData, RawCount> = maps.open("stats", MapAccess::Read)?;
    let mut object = serde_json::Map::new();
    for (slot, name) in (0..).zip(OUTCOMES) {
        let cpus = stats.get(&slot, 0).with_context(|| format!("cannot read the counter {name}"))?;
        let count: Count = cpus.iter().copied().map(Count::from).sum();
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
