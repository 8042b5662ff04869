//! Prints the counters of the XDP protocol counter.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use aya::maps::{MapData, PerCpuArray};
use bpfman_examples::count::{Count, RawCount};
use bpfman_examples::pinned::open_map;
use bpfman_examples::protocol::Slot;
use clap::Parser;

/// Shows how many packets and bytes of each protocol the loaded xdp_counter has seen
#[derive(Parser)]
struct Arguments {
    /// The folder of the program's pinned maps
    #[arg(long, value_name = "DIR")]
    map_dir: PathBuf,
    /// One JSON object, `{"ipv4/tcp": {"packets", "bytes"}, …}`, instead of lines
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    let Arguments { map_dir, json } = Arguments::parse();
    let protocols: PerCpuArray<MapData, RawCount> = open_map(&map_dir, "protocols")?;
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
