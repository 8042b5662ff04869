//! Configures the XDP firewall, and shows its statistics.

mod compile;
mod contents;
mod generations;
mod list;
mod rule;
mod search;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use aya::maps::{MapData, PerCpuArray};
use bpfman_client::MapAccess;
use bpfman_examples::count::{Count, RawCount};
use bpfman_examples::failure;
use bpfman_examples::follow_file::FollowFlags;
use bpfman_examples::prefix::Prefix;
use bpfman_examples::source::MapSource;
use clap::{Parser, Subcommand};
use serde_json::json;

use crate::generations::{Firewall, Replaced, active_rules, counted};

/// Sets the rules by which the loaded xdp_firewall drops packets, and shows its counters
///
/// The first rule that matches a packet decides; what none matches passes. A change takes effect as a whole: every packet
/// meets the old rules or the new ones.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    maps: MapSource,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Replace all rules by those of a file, one per line: `drop|allow [src PREFIX | dst PREFIX] [proto NAME [dport PORT]]`
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
    /// Drop packets from these prefixes: adds rules before the first one that could decide otherwise
    Add {
        #[arg(required = true, value_name = "PREFIX")]
        prefixes: Vec<Prefix>,
    },
    /// Remove what `add` added
    Remove {
        #[arg(required = true, value_name = "PREFIX")]
        prefixes: Vec<Prefix>,
    },
    /// Show each rule, with the packets that it has matched
    List {
        /// A JSON array instead of lines
        #[arg(long, conflicts_with = "rules")]
        json: bool,
        /// Only the rules, as `apply` reads them
        #[arg(long)]
        rules: bool,
    },
    /// Show how many packets passed and were dropped in all
    Stats {
        /// A JSON object instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Release the lock of a process in another container that was killed while it changed the rules
    Unlock,
}

/// Order of `enum outcome`.
const OUTCOMES: [&str; 5] = ["passed_ipv4", "passed_ipv6", "passed_other", "dropped_ipv4", "dropped_ipv6"];

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
            let rules = list::read(&file)?;
            let count = rules.len();
            let (replaced, ()) = Firewall::open(&maps)?.replace(|_| Ok((Some(rules), ())))?;
            if let Some(Replaced { added, removed, kept }) = replaced {
                writeln!(out, "{count} rules: {added} added, {removed} removed, {kept} kept")?;
            }
            Ok(())
        })?,
        Action::Diff { file } => {
            let difference = list::difference(&active_rules(&maps)?, &list::read(&file)?);
            out.write_all(difference.as_bytes())?;
            if !difference.is_empty() {
                return Ok(ExitCode::from(DIFFERENT));
            }
        }
        Action::Add { prefixes } => {
            change(&maps, &mut out, &prefixes, list::block, ["added", "unchanged"])?;
        }
        Action::Remove { prefixes } => {
            change(&maps, &mut out, &prefixes, list::unblock, ["removed", "was not there"])?;
        }
        Action::List { json, rules } => print_rules(&maps, &mut out, json, rules)?,
        Action::Stats { json } => print_stats(&maps, &mut out, json)?,
        Action::Unlock => Firewall::open(&maps)?.unlock()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn change(
    maps: &MapSource,
    out: &mut impl Write,
    prefixes: &[Prefix],
    each: impl Fn(&mut Vec<rule::Rule>, Prefix) -> bool,
    [done, not_needed]: [&str; 2],
) -> Result<()> {
    let (_, lines) = Firewall::open(maps)?.replace(|old| {
        let mut rules = old.to_vec();
        let changed: Vec<bool> = prefixes.iter().map(|prefix| each(&mut rules, *prefix)).collect();
        list::check_number(&rules)?;
        let wanted = changed.contains(&true).then_some(rules);
        Ok((wanted, changed))
    })?;
    for (prefix, changed) in prefixes.iter().zip(lines) {
        writeln!(out, "{prefix} {}", if changed { done } else { not_needed })?;
    }
    Ok(())
}

fn print_rules(maps: &MapSource, out: &mut impl Write, json: bool, rules_only: bool) -> Result<()> {
    if rules_only {
        return active_rules(maps)?.iter().try_for_each(|rule| Ok(writeln!(out, "{rule}")?));
    }
    let rules = counted(maps)?;
    if json {
        let rules = rules.into_iter().map(|(rule, count)| {
            let prefix = rule.blocked_source().map(|prefix| prefix.to_string());
            json!({ "rule": rule.to_string(), "prefix": prefix, "packets": count.packets, "bytes": count.bytes })
        });
        writeln!(out, "{}", serde_json::Value::from_iter(rules))?;
    } else {
        for (rule, count) in rules {
            writeln!(out, "{:<48} {count}", rule.to_string())?;
        }
    }
    Ok(())
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
            writeln!(out, "{name:<24} {count}")?;
        }
    }
    if json {
        writeln!(out, "{}", serde_json::Value::Object(object))?;
    }
    Ok(())
}
