//! Configures the traffic that may pass the ports of a bridge, and shows statistics.

mod compile;
mod connection;
mod rule;
mod switch;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use aya::maps::{MapData, MapError, PerCpuHashMap};
use bpfman_client::MapAccess;
use bpfman_examples::count::Count;
use bpfman_examples::follow_file::FollowFlags;
use bpfman_examples::source::MapSource;
use bpfman_examples::{failure, rule_file};
use clap::{Parser, Subcommand};
use serde_json::Value;

use crate::connection::{Connection, connections, flush};
use crate::rule::{GRAMMAR, Rule};
use crate::switch::{MAX_RULES, RawCounts, Switch, port_names, rules_in_force};

/// Sets the traffic that may pass at the ports of a bridge with a loaded switch_port, and shows its counters
///
/// Frames from a port must have its own addresses as source. Only a port's rules allow a new connection, which then passes
/// in both directions. Ports that no rule names are not filtered. Names are those of the network namespace of this
/// process.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    maps: MapSource,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Replace all rules by those of a file, one per line; frames meet the old ones or the new ones
    Apply {
        /// `-` is standard input
        #[arg(value_name = "FILE")]
        file: String,
        #[command(flatten)]
        keeping: FollowFlags,
    },
    /// Show what `apply` would change; ends with 1 if there is anything
    Diff {
        /// `-` is standard input
        #[arg(value_name = "FILE")]
        file: String,
    },
    /// Show the rules, as `apply` reads them
    List {
        /// A JSON array instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Show the connections of all ports
    Connections {
        /// A JSON array instead of lines
        #[arg(long)]
        json: bool,
    },
    /// End all connections: their next packets have to be allowed again
    Flush,
    /// Show how many frames passed and were refused at each port
    Stats {
        /// A JSON object instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Release the lock of a process in another container that was killed while it changed the rules
    Unlock,
}

/// Order of `enum outcome`.
const OUTCOMES: [&str; 6] = ["passed_out", "passed_in", "refused_out", "refused_in", "spoofed", "unreadable"];

const DIFFERENT: u8 = 1;

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => failure::end(Err(error)),
    }
}

fn run(Arguments { maps, action }: Arguments) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    match action {
        Action::Apply { file, keeping } => keeping.apply(&file, || {
            let rules = read(&file)?;
            Switch::open(&maps)?.replace(&rules)?;
            writeln!(out, "{} rules", rules.len())?;
            Ok(())
        })?,
        Action::Diff { file } => {
            let difference = rule_file::difference(&rules(&maps)?, &read(&file)?);
            out.write_all(difference.as_bytes())?;
            if !difference.is_empty() {
                return Ok(ExitCode::from(DIFFERENT));
            }
        }
        Action::List { json: true } => {
            writeln!(out, "{}", rules(&maps)?.iter().map(Rule::to_string).collect::<Value>())?;
        }
        Action::List { json: false } => rules(&maps)?.iter().try_for_each(|rule| writeln!(out, "{rule}"))?,
        Action::Connections { json: true } => {
            writeln!(out, "{}", connections(&maps)?.iter().map(Connection::to_json).collect::<Value>())?;
        }
        Action::Connections { json: false } => {
            connections(&maps)?.iter().try_for_each(|one| writeln!(out, "{one}"))?;
        }
        Action::Flush => writeln!(out, "{} connections ended", flush(&maps)?)?,
        Action::Stats { json } => print_stats(&maps, &mut out, json)?,
        Action::Unlock => Switch::open(&maps)?.unlock()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &str) -> Result<Vec<Rule>> {
    let (text, name) = rule_file::read(file)?;
    rule_file::parse(&text, &name, GRAMMAR, MAX_RULES)
}

fn rules(maps: &MapSource) -> Result<Vec<Rule>> {
    Ok(rules_in_force(maps)?.into_iter().map(|(rule, _)| rule).collect())
}

fn print_stats(maps: &MapSource, out: &mut impl Write, json: bool) -> Result<()> {
    let stats: PerCpuHashMap<MapData, u32, RawCounts> = maps.open("stats", MapAccess::Read)?;
    let mut ports = serde_json::Map::new();
    for (index, name) in port_names(maps)? {
        let cpus = match stats.get(&index.0, 0) {
            Err(MapError::KeyNotFound) => continue,
            counts => counts.with_context(|| format!("cannot read the counts of {name}"))?,
        };
        let mut counts = serde_json::Map::new();
        for (outcome, number) in OUTCOMES.into_iter().zip(0..) {
            let of = |cpu: &RawCounts| Count::from([cpu[number], cpu[OUTCOMES.len() + number]]);
            let count: Count = cpus.iter().map(of).sum();
            if json {
                counts.insert(outcome.to_owned(), count.to_json());
            } else {
                writeln!(out, "{name:<15} {outcome:<12} {count}")?;
            }
        }
        ports.insert(name.0, Value::Object(counts));
    }
    if json {
        writeln!(out, "{}", Value::Object(ports))?;
    }
    Ok(())
}
