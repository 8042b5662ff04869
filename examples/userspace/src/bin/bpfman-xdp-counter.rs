//! Prints the counters of the XDP protocol counter.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::maps::{MapData, PerCpuArray};
use bpfman_client::MapAccess;
use bpfman_examples::count::{Count, RawCount};
use bpfman_examples::failure;
use bpfman_examples::protocol::Slot;
use bpfman_examples::source::MapSource;
use clap::Parser;

/// Shows how many packets and bytes of each protocol the loaded xdp_counter has seen
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    maps: MapSource,
    /// One JSON object, `{"ipv4/tcp": {"packets", "bytes"}, …}`, instead of lines
    #[arg(long)]
    json: bool,
    /// Show the counters again at this interval, until Ctrl-C
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    every: Option<u64>,
}

fn main() -> ExitCode {
    failure::end(run(Arguments::parse()))
}

fn run(Arguments { maps, json, every }: Arguments) -> Result<()> {
    let protocols: PerCpuArray<MapData, RawCount> = maps.open("protocols", MapAccess::Read)?;
    loop {
        show(&protocols, json)?;
        let Some(seconds) = every else { return Ok(()) };
        std::thread::sleep(Duration::from_secs(seconds));
    }
}

fn show(protocols: &PerCpuArray<MapData, RawCount>, json: bool) -> Result<()> {
    let mut seen = Vec::new();
    for (index, cpus) in (0..).zip(protocols.iter()) {
        let cpus = cpus.context("cannot read the counters")?;
        let count: Count = cpus.iter().copied().map(Count::from).sum();
        if let Some(slot) = Slot::from_index(index)
            && count.packets > 0
        {
            seen.push((slot.to_string(), count));
        }
    }

    let mut out = io::stdout().lock();
    if json {
        let object = seen.into_iter().map(|(slot, count)| (slot, count.to_json())).collect();
        writeln!(out, "{}", serde_json::Value::Object(object))?;
    } else {
        for (slot, count) in seen {
            writeln!(out, "{slot:<24} {count}")?;
        }
    }
    Ok(())
}
