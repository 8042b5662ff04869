//! Controls egress traffic of a cgroup, and shows refused packets.

mod compile;
mod event;
mod file;
mod guard;
mod learned;
mod pattern;
mod rule;

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::{Context, Result};
use aya::maps::{MapData, PerCpuArray};
use bpfman_client::MapAccess;
use bpfman_examples::follow::Followed;
use bpfman_examples::follow_file::FollowFlags;
use bpfman_examples::mode::{self, Mode};
use bpfman_examples::source::MapSource;
use bpfman_examples::{failure, rule_file};
use clap::{Parser, Subcommand};
use serde_json::json;

use crate::event::Refused;
use crate::file::RuleFile;
use crate::guard::{ActiveRules, Guard};
use crate::learned::learned;
use crate::rule::Rule;

/// Sets the destinations that cgroups with a loaded egress_guard may reach, and shows refused packets
///
/// Rules allow prefixes and names; packets to anything else are reported, and dropped in the mode `enforce`. The addresses
/// of names come from answers of the resolvers in the rules. Before the first rules everything passes.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    maps: MapSource,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Replace all rules by those of a file, one per line; packets meet the old ones or the new ones. A line `mode
    /// enforce` or `mode shadow` sets the mode, too
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
        /// A JSON object with the mode, and the rules as an array
        #[arg(long)]
        json: bool,
    },
    /// Show the addresses that are known for names, and for how many seconds they remain
    Learned {
        /// A JSON array instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Print refused packets as they come, one JSON object per line
    Follow {
        /// End after this number
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
    /// Show the mode, or set it: drop refused packets, or only report them
    Mode { mode: Option<Mode> },
    /// Show how many packets passed and were refused, and how many DNS answers were accepted
    Stats {
        /// A JSON object instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Release the lock of a process in another container that was killed while it changed the rules
    Unlock,
}

/// Order of `enum count`.
const COUNTS: [&str; 6] =
    ["passed", "refused_in_shadow", "dropped", "queries", "addresses_learnt", "answers_unasked"];

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
            let RuleFile { rules, mode: wanted } = file::read(&file)?;
            let (mut guard, now) = (Guard::open(&maps)?, guard::mode(&maps)?);
            let set = |mode| guard::set_mode(&maps, mode);
            mode::replace_in(wanted, now, set, || guard.replace(&rules))?;
            writeln!(out, "{} rules, mode {}", rules.len(), guard::mode(&maps)?)?;
            Ok(())
        })?,
        Action::Diff { file } => {
            let old = ActiveRules::read(&maps)?.unwrap_or_default().rules;
            let new = file::read(&file)?;
            let mut difference = rule_file::difference(&old, &new.rules);
            let now = guard::mode(&maps)?;
            if let Some(wanted) = new.mode.filter(|wanted| *wanted != now) {
                difference.push_str(&format!("- mode {now}\n+ mode {wanted}\n"));
            }
            out.write_all(difference.as_bytes())?;
            if !difference.is_empty() {
                return Ok(ExitCode::from(DIFFERENT));
            }
        }
        Action::List { json } => {
            let rules = ActiveRules::read(&maps)?.unwrap_or_default().rules;
            let lines: Vec<String> = rules.iter().map(Rule::to_string).collect();
            if json {
                writeln!(out, "{}", json!({ "mode": guard::mode(&maps)?.to_string(), "rules": lines }))?;
            } else {
                lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
            }
        }
        Action::Learned { json } => {
            let learned = learned(&maps)?;
            if json {
                let one = |one: &learned::Learned| json!({ "name": one.name, "address": one.address, "seconds": one.seconds });
                writeln!(out, "{}", learned.iter().map(one).collect::<serde_json::Value>())?;
            } else {
                for one in learned {
                    writeln!(out, "{:<40} {:<40} {:>6} s", one.name, one.address, one.seconds)?;
                }
            }
        }
        Action::Follow { count } => follow(&maps, &mut out, count)?,
        Action::Mode { mode: None } => writeln!(out, "{}", guard::mode(&maps)?)?,
        Action::Mode { mode: Some(mode) } => guard::set_mode(&maps, mode)?,
        Action::Stats { json } => print_stats(&maps, &mut out, json)?,
        Action::Unlock => Guard::open(&maps)?.unlock()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn follow(maps: &MapSource, out: &mut impl Write, count: Option<u64>) -> Result<()> {
    let ring = maps.open("events", MapAccess::Write)?;
    let mut refused = Followed::new(ring, maps.open("lost", MapAccess::Read)?)?;
    let mut left = count.unwrap_or(u64::MAX);
    refused.each(|record| {
        let event = Refused::parse(record)
            .with_context(|| format!("a record of {} bytes is not this example's", record.len()))?;
        writeln!(out, "{}", event.to_json())?;
        left -= 1;
        Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
}

fn print_stats(maps: &MapSource, out: &mut impl Write, json: bool) -> Result<()> {
    let stats: PerCpuArray<MapData, u64> = maps.open("stats", MapAccess::Read)?;
    let mut counts = serde_json::Map::new();
    for (name, slot) in COUNTS.into_iter().zip(0..) {
        let sum: u64 = stats.get(&slot, 0).with_context(|| format!("cannot read {name}"))?.iter().sum();
        if json {
            counts.insert(name.to_owned(), sum.into());
        } else {
            writeln!(out, "{name:<20} {sum:>12}")?;
        }
    }
    if json {
        writeln!(out, "{}", serde_json::Value::Object(counts))?;
    }
    Ok(())
}
