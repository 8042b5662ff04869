use std::io::Write;

use anyhow::{Context as _, Result};
use aya::maps::{MapData, PerCpuArray};
use bpfman_client::MapAccess;
use bpfman_examples::count::{Count, RawCount};
use bpfman_examples::source::MapSource;
use serde_json::{Map, Value, json};

use crate::balancer::{Serving, in_force};

/// Order of `enum outcome`.
const OUTCOMES: [&str; 7] =
    ["forwarded", "connections", "no_backend", "too_large", "no_route", "fragments", "icmp_errors"];

fn count(counts: &PerCpuArray<MapData, RawCount>, number: u32) -> Result<Count> {
    let cpus = counts.get(&number, 0).context("cannot read a counter")?;
    Ok(cpus.iter().copied().map(Count::from).sum())
}

pub fn services(maps: &MapSource, out: &mut impl Write, as_json: bool) -> Result<()> {
    let now = in_force(maps)?;
    let of_services = maps.open("service_counts", MapAccess::Read)?;
    let of_backends = maps.open("backend_counts", MapAccess::Read)?;
    let mut all = Vec::new();
    for (number, Serving { service, weights, .. }) in &now.services {
        let counted = count(&of_services, *number)?;
        if !as_json {
            writeln!(out, "{:<40} {counted}", service.to_string())?;
        }
        let mut backends = Vec::new();
        for (number, weight) in weights {
            let backend = now.backends[number];
            let counted = count(&of_backends, *number)?;
            if as_json {
                backends.push(json!({
                    "address": backend.address, "weight": weight, "state": backend.state.word(),
                    "packets": counted.packets, "bytes": counted.bytes,
                }));
            } else {
                let words = format!("{} weight {weight} {}", backend.address, backend.state.word());
                writeln!(out, "    {words:<36} {counted}")?;
            }
        }
        all.push(json!({
            "service": service.to_string(), "packets": counted.packets, "bytes": counted.bytes, "backends": backends,
        }));
    }
    if as_json {
        writeln!(out, "{}", Value::from(all))?;
    }
    Ok(())
}

pub fn outcomes(maps: &MapSource, out: &mut impl Write, as_json: bool) -> Result<()> {
    let counts: PerCpuArray<MapData, u64> = maps.open("outcomes", MapAccess::Read)?;
    let mut object = Map::new();
    for (place, name) in (0..).zip(OUTCOMES) {
        let cpus = counts.get(&place, 0).context("cannot read the counters")?;
        object.insert(name.to_owned(), cpus.iter().sum::<u64>().into());
    }
    if as_json {
        writeln!(out, "{}", Value::from(object))?;
    } else {
        for (name, count) in object {
            writeln!(out, "{name:<12} {count:>12}")?;
        }
    }
    Ok(())
}
