//! Prints the programs that are started on this machine.

use std::io::{self, Write};

use anyhow::{Context, Result};
use aya::maps::{MapData, PerCpuArray, RingBuf};
use bpfman_client::MapAccess;
use bpfman_examples::exec_event::ExecEvent;
use bpfman_examples::source::MapSource;
use clap::Parser;
use rustix::event::{PollFd, PollFlags, poll};

/// Prints every program start that the loaded exec_snoop reports
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    maps: MapSource,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// End after so many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

fn main() -> Result<()> {
    let Arguments { maps, json, count } = Arguments::parse();
    let mut ring: RingBuf<MapData> = maps.open("events", MapAccess::Write)?;
    let lost: PerCpuArray<MapData, u64> = maps.open("lost", MapAccess::Read)?;
    let mut lost_before = lost_events(&lost)?;
    let mut left = count.unwrap_or(u64::MAX);
    if !json {
        writeln!(io::stdout(), "{:>8} {:>6} {:<16} FILE", "PID", "UID", "COMMAND")?;
    }
    loop {
        while left > 0
            && let Some(record) = ring.next()
        {
            let event = ExecEvent::parse(&record)
                .with_context(|| format!("a record of {} bytes is not this example's", record.len()))?;
            if json {
                writeln!(io::stdout(), "{}", event.to_json())?;
            } else {
                writeln!(io::stdout(), "{event}")?;
            }
            left -= 1;
        }
        let lost_now = lost_events(&lost)?;
        if lost_now > lost_before {
            writeln!(io::stderr(), "{} events lost: the ring was full", lost_now - lost_before)?;
            lost_before = lost_now;
        }
        if left == 0 {
            return Ok(());
        }
        match poll(&mut [PollFd::new(&ring, PollFlags::IN)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for the ring"),
        }
    }
}

fn lost_events(lost: &PerCpuArray<MapData, u64>) -> Result<u64> {
    Ok(lost.get(&0, 0).context("cannot read the lost events")?.iter().sum())
}
