//! Sets the rules of the watchdog, and prints matching events.

mod capability;
mod compile;
mod event;
mod list;
mod rule;
mod tables;

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::{Context, Result};
use aya::maps::{Array, MapData, PerCpuArray};
use bpfman_client::MapAccess;
use bpfman_examples::failure;
use bpfman_examples::follow::Followed;
use bpfman_examples::follow_file::FollowFlags;
use bpfman_examples::mode::{self, Mode};
use bpfman_examples::source::MapSource;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};
use serde_json::json;

use crate::event::Event;
use crate::list::RuleFile;
use crate::rule::Action;
use crate::tables::{Named, Names, Revision, Tables};

/// Gives the loaded watchdog its rules, and reports their matches
///
/// Rules that kill or forbid only report until `mode enforce`.
#[derive(Parser)]
#[command(name = "bpfman-watchdog", mut_group("MapSource", |group| group.required(false)))]
struct Arguments {
    #[command(flatten)]
    maps: Option<MapSource>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Report mistakes in a file of rules; needs no program
    Check {
        /// `-` is standard input
        file: String,
    },
    #[command(flatten)]
    Loaded(OfLoaded),
}

/// Commands that need the program's maps.
#[derive(Subcommand)]
enum OfLoaded {
    /// Replace all rules by those of a file; `mode: enforce` or `mode: shadow` in it sets the mode, too
    Apply {
        /// `-` is standard input
        file: String,
        #[command(flatten)]
        keeping: FollowFlags,
    },
    /// Show the rules in force and how often each has matched
    Rules {
        /// A JSON array instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Print the events that rules match, one JSON object per line
    Follow {
        /// End after this number of events
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
    /// Show the mode, or set it: rules kill and forbid, or only report
    Mode { wanted: Option<Mode> },
    /// Show what has been seen and done since the program was loaded
    Stats {
        /// A JSON object instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Release the lock of a process in another container that was killed while it changed the rules
    Unlock,
}

/// Order of `enum deed`.
const DEEDS: [&str; 7] = ["seen", "matched", "killed", "not_killed", "forbidden", "unnamed", "undecided"];

fn main() -> ExitCode {
    failure::end(run(Arguments::parse()))
}

fn run(Arguments { maps, verb }: Arguments) -> Result<()> {
    let mut out = io::stdout().lock();
    let (maps, verb) = match (verb, maps) {
        (Verb::Check { file }, _) => return Ok(writeln!(out, "{} rules", list::read(&file)?.rules.len())?),
        (Verb::Loaded(verb), Some(maps)) => (maps, verb),
        (Verb::Loaded(_), None) => Arguments::command()
            .error(
                ErrorKind::MissingRequiredArgument,
                "one of --program, --app and --map-dir selects whose rules",
            )
            .exit(),
    };
    match verb {
        OfLoaded::Apply { file, keeping } => keeping.apply(&file, || {
            let RuleFile { rules, mode: wanted } = list::read(&file)?;
            let (mut tables, now) = (Tables::open(&maps)?, mode_now(&maps)?);
            let replace = || tables.replace(&rules);
            let Revision(revision) = mode::replace_in(wanted, now, |mode| set_mode(&maps, mode), replace)?;
            writeln!(out, "{} rules, revision {revision}, mode {}", rules.len(), mode_now(&maps)?)?;
            Ok(())
        })?,
        OfLoaded::Rules { json } => print_rules(&maps, &mut out, json)?,
        OfLoaded::Follow { count } => follow(&maps, &mut out, count)?,
        OfLoaded::Mode { wanted: Some(wanted) } => set_mode(&maps, wanted)?,
        OfLoaded::Mode { wanted: None } => writeln!(out, "{}", mode_now(&maps)?)?,
        OfLoaded::Stats { json } => print_stats(&maps, &mut out, json)?,
        OfLoaded::Unlock => Tables::open(&maps)?.unlock()?,
    }
    Ok(())
}

fn mode_now(maps: &MapSource) -> Result<Mode> {
    let mode: Array<MapData, u64> = maps.open("mode", MapAccess::Read)?;
    Ok(Mode::of_word(mode.get(&0, 0).context("cannot read the mode")?))
}

fn set_mode(maps: &MapSource, wanted: Mode) -> Result<()> {
    let mut mode: Array<MapData, u64> = maps.open("mode", MapAccess::Write)?;
    mode.set(0, wanted as u64, 0).context("cannot change the mode")
}

fn follow(maps: &MapSource, out: &mut impl Write, count: Option<u64>) -> Result<()> {
    let names = Names::open(maps)?;
    let (mut known, mut rules): (Revision, Vec<Named>) = names.current()?;
    let ring = maps.open("events", MapAccess::Write)?;
    let mut events = Followed::new(ring, maps.open("lost", MapAccess::Read)?)?;
    let mut left = count.unwrap_or(u64::MAX);
    events.each(|record| {
        let event = Event::parse(record)
            .with_context(|| format!("a record of {} bytes is not the watchdog's", record.len()))?;
        if event.revision != known
            && let Some(now) = names.of(event.revision)?
        {
            (known, rules) = (event.revision, now);
        }
        // Names of rules that were replaced since are unknown; the alert has only their numbers.
        for alert in event.alerts((event.revision == known).then_some(rules.as_slice())) {
            writeln!(out, "{alert}")?;
        }
        left -= 1;
        Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
}

fn print_rules(maps: &MapSource, out: &mut impl Write, as_json: bool) -> Result<()> {
    let rules = tables::matches(maps)?.into_iter().map(|(Named { name, action }, matches)| {
        let action = match action {
            Action::Alert => "alert",
            Action::Kill => "kill",
            Action::Forbid => "forbid",
        };
        (name, action, matches)
    });
    if as_json {
        let rules = rules
            .map(|(name, action, matches)| json!({ "rule": name, "action": action, "matches": matches }));
        writeln!(out, "{}", serde_json::Value::from_iter(rules))?;
    } else {
        for (name, action, matches) in rules {
            writeln!(out, "{name:<48} {action:<8} {matches:>12}")?;
        }
    }
    Ok(())
}

fn print_stats(maps: &MapSource, out: &mut impl Write, as_json: bool) -> Result<()> {
    let deeds: PerCpuArray<MapData, u64> = maps.open("deeds", MapAccess::Read)?;
    let lost: PerCpuArray<MapData, u64> = maps.open("lost", MapAccess::Read)?;
    let slots = (0..).zip(DEEDS).map(|(slot, name)| (&deeds, slot, name)).chain([(&lost, 0, "lost")]);
    let mut object = serde_json::Map::new();
    for (map, slot, name) in slots {
        let cpus = map.get(&slot, 0).with_context(|| format!("cannot read the counter {name}"))?;
        let count: u64 = cpus.iter().sum();
        if as_json {
            object.insert(name.to_owned(), count.into());
        } else {
            writeln!(out, "{name:<12} {count:>14}")?;
        }
    }
    if as_json {
        writeln!(out, "{}", serde_json::Value::Object(object))?;
    }
    Ok(())
}
