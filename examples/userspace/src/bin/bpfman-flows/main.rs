//! Shows the flows that the loaded programs record, and the packets that the kernel drops.

mod clock;
mod event;
mod filter;
mod flow;
mod reasons;
mod serve;
mod tables;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bpfman_client::MapAccess;
use bpfman_examples::failure;
use bpfman_examples::follow::Followed;
use bpfman_examples::source::MapSource;
use clap::{Parser, Subcommand};

use crate::clock::Clock;
use crate::event::Event;
use crate::filter::Filter;
use crate::reasons::Reasons;
use crate::tables::Tables;

/// Shows the flows that the loaded programs of `flows` remember, and what the kernel drops
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    maps: MapSource,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show all present flows and drops, the most recent first
    List {
        #[command(flatten)]
        filter: Filter,
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Print new, ended and dropped flows as they come, one JSON object per line
    Follow {
        #[command(flatten)]
        filter: Filter,
        /// End after this number
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
    /// Serve `/flows` (JSON lines) and `/metrics` (for Prometheus) over HTTP
    Serve {
        /// Address to listen on; every client that reaches it can read
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8178")]
        listen: SocketAddr,
    },
}

fn main() -> ExitCode {
    failure::end(run(Arguments::parse()))
}

fn run(Arguments { maps, action }: Arguments) -> Result<()> {
    match action {
        Action::List { filter, json } => list(&maps, &filter, json),
        Action::Follow { filter, count } => follow(&maps, &filter, count),
        Action::Serve { listen } => serve::serve(&maps, listen),
    }
}

fn list(maps: &MapSource, filter: &Filter, json: bool) -> Result<()> {
    let all = Tables::open(maps)?.read()?;
    let (reasons, clock) = (Reasons::of_this_kernel(), Clock::now());
    let mut out = io::BufWriter::new(io::stdout().lock());
    if !json {
        writeln!(out, "{}", flow::heading())?;
    }
    for seen in all.into_iter().filter(|seen| filter.takes(&seen.flow)) {
        if json {
            writeln!(out, "{}", seen.to_json(&reasons, clock))?;
        } else {
            writeln!(out, "{}", seen.line(&reasons, clock))?;
        }
    }
    Ok(out.flush()?)
}

fn follow(maps: &MapSource, filter: &Filter, count: Option<u64>) -> Result<()> {
    let ring = maps.open("events", MapAccess::Write)?;
    let mut events = Followed::new(ring, maps.open("lost", MapAccess::Read)?)?;
    let reasons = Reasons::of_this_kernel();
    let mut left = count.unwrap_or(u64::MAX);
    events.each(|record| {
        let event = Event::parse(record)
            .with_context(|| format!("a record of {} bytes is not this example's", record.len()))?;
        if filter.takes(&event.seen.flow) {
            writeln!(io::stdout(), "{}", event.to_json(&reasons, Clock::now()))?;
            left -= 1;
        }
        Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
}
