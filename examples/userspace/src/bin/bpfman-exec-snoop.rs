//! Prints the programs that are started on this machine.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bpfman_client::MapAccess;
use bpfman_examples::exec_event::ExecEvent;
use bpfman_examples::failure;
use bpfman_examples::follow::Followed;
use bpfman_examples::source::MapSource;
use clap::Parser;

/// Prints every program start that the loaded exec_snoop reports
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    maps: MapSource,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    /// End after this number of events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

fn main() -> ExitCode {
    failure::end(run(&Arguments::parse()))
}

fn run(Arguments { maps, json, count }: &Arguments) -> Result<()> {
    let ring = maps.open("events", MapAccess::Write)?;
    let mut starts = Followed::new(ring, maps.open("lost", MapAccess::Read)?)?;
    let mut left = count.unwrap_or(u64::MAX);
    if !json {
        writeln!(io::stdout(), "{:>8} {:>6} {:<16} FILE", "PID", "UID", "COMMAND")?;
    }
    starts.each(|record| {
        let event = ExecEvent::parse(record)
            .with_context(|| format!("a record of {} bytes is not this example's", record.len()))?;
        if *json {
            writeln!(io::stdout(), "{}", event.to_json())?;
        } else {
            writeln!(io::stdout(), "{event}")?;
        }
        left -= 1;
        Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
}
