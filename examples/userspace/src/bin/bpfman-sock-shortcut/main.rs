//! Configures the ports of connections that bypass TCP between local sockets, and shows statistics.

mod end;
mod file;
mod pairs;
mod ports;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use aya::maps::{MapData, PerCpuArray};
use bpfman_client::MapAccess;
use bpfman_examples::failure;
use bpfman_examples::follow_file::FollowFlags;
use bpfman_examples::source::MapSource;
use clap::{Parser, Subcommand};
use serde_json::{Value, json};

use crate::ports::{Ports, Rules, Verdict};

/// Sets the ports whose local TCP connections the loaded sock_shortcut carries from socket to socket, and shows its
/// counters
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    maps: MapSource,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show how many messages took the shortcut, and why others did not
    Stats {
        /// A JSON object instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Show the connections whose sockets are known
    List {
        /// A JSON array instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Let connections of these ports take the shortcut
    Allow {
        /// `all`: every port, overriding earlier rules
        #[arg(required = true, value_name = "PORT")]
        ports: Vec<Ports>,
    },
    /// Leave connections of these ports to TCP, from the next message on
    Deny {
        /// `all`: every port, overriding earlier rules
        #[arg(required = true, value_name = "PORT")]
        ports: Vec<Ports>,
    },
    /// Replace the rules of `allow` and `deny` by those of a file, one per line, as `ports` shows them
    Apply {
        /// `-` is standard input
        #[arg(value_name = "FILE")]
        file: String,
        #[command(flatten)]
        keeping: FollowFlags,
    },
    /// Show the rules of `allow` and `deny`
    Ports {
        /// A JSON object instead of lines
        #[arg(long)]
        json: bool,
    },
}

/// Order of `enum outcome`.
const OUTCOMES: [&str; 7] = ["shortcut", "no_peer", "denied", "after_tcp", "queue_full", "errors", "sockets"];

fn main() -> ExitCode {
    failure::end(run(Arguments::parse()))
}

fn run(Arguments { maps, action }: Arguments) -> Result<()> {
    let mut out = io::stdout().lock();
    match action {
        Action::Stats { json } => print_stats(&maps, &mut out, json),
        Action::List { json } => print_pairs(&maps, &mut out, json),
        Action::Allow { ports } => set(&maps, &ports, Verdict::Allow),
        Action::Deny { ports } => set(&maps, &ports, Verdict::Deny),
        Action::Apply { file, keeping } => keeping.apply(&file, || {
            let rules = file::read(&file)?;
            Rules::open(&maps, MapAccess::Write)?.replace(&rules)?;
            Ok(writeln!(out, "{} rules", rules.len())?)
        }),
        Action::Ports { json } => print_ports(&maps, &mut out, json),
    }
}

fn set(maps: &MapSource, ports: &[Ports], verdict: Verdict) -> Result<()> {
    let mut rules = Rules::open(maps, MapAccess::Write)?;
    ports.iter().try_for_each(|ports| rules.set(*ports, verdict))
}

fn print_stats(maps: &MapSource, out: &mut impl Write, json: bool) -> Result<()> {
    let stats: PerCpuArray<MapData, [u64; 2]> = maps.open("stats", MapAccess::Read)?;
    let mut object = serde_json::Map::new();
    for (slot, name) in (0..).zip(OUTCOMES) {
        let cpus = stats.get(&slot, 0).with_context(|| format!("cannot read the counter {name}"))?;
        let sum = |field: usize| cpus.iter().fold(0_u64, |sum, cpu| sum.wrapping_add(cpu[field]));
        let (number, bytes) = (sum(0), sum(1));
        match (json, name) {
            (true, "sockets") => drop(object.insert(name.to_owned(), number.into())),
            (true, _) => drop(object.insert(name.to_owned(), json!({ "messages": number, "bytes": bytes }))),
            (false, "sockets") => writeln!(out, "{name:<12} {number:>12}")?,
            (false, _) => writeln!(out, "{name:<12} {number:>12} messages {bytes:>16} bytes")?,
        }
    }
    if json {
        writeln!(out, "{}", Value::Object(object))?;
    }
    Ok(())
}

fn print_pairs(maps: &MapSource, out: &mut impl Write, json: bool) -> Result<()> {
    let pairs = pairs::read(maps)?;
    if json {
        writeln!(out, "{}", Value::from_iter(pairs.iter().map(pairs::Pair::to_json)))?;
        return Ok(());
    }
    for pair in pairs {
        let (local, remote) = (pair.end.local.to_string(), pair.end.remote.to_string());
        let whole = if pair.whole { "" } else { ", one end alone" };
        writeln!(out, "{local:<24} {remote:<24} {}{whole}", pair.end.namespace)?;
    }
    Ok(())
}

fn print_ports(maps: &MapSource, out: &mut impl Write, json: bool) -> Result<()> {
    let rules = Rules::open(maps, MapAccess::Read)?.read()?;
    if json {
        let rules = rules.into_iter().map(|(ports, verdict)| (ports.to_string(), verdict.to_string().into()));
        writeln!(out, "{}", Value::Object(rules.collect()))?;
        return Ok(());
    }
    rules.into_iter().try_for_each(|(ports, verdict)| Ok(writeln!(out, "{verdict} {ports}")?))
}
