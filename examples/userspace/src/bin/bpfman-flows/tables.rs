use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData, MapError, PerCpuArray};
use bpfman_client::MapAccess;
use bpfman_examples::source::MapSource;

use crate::flow::{DROP_BYTES, FLOW_BYTES, Flow, RECORD_BYTES, Record, Seen};
use crate::reasons::DropReason;

/// Order of the program's enumerations.
pub const TOTALS: [&str; 5] = ["ingress", "egress", "dropped", "other", "unstored"];

type Table<const KEY: usize> = HashMap<MapData, [u8; KEY], [u8; RECORD_BYTES]>;

pub struct Tables {
    flows: Table<FLOW_BYTES>,
    drops: Table<DROP_BYTES>,
}

impl Tables {
    pub fn open(maps: &MapSource) -> Result<Self> {
        Ok(Self { flows: maps.open("flows", MapAccess::Read)?, drops: maps.open("drops", MapAccess::Read)? })
    }

    /// Returns flows and drops, most recently seen first. Entries evicted during the read may be missing.
    pub fn read(&self) -> Result<Vec<Seen>> {
        let flows = entries(&self.flows, |key| Flow::parse(key, DropReason(0)));
        let drops = entries(&self.drops, Flow::parse_drop);
        let mut all = flows.context("cannot read the flows")?;
        all.extend(drops.context("cannot read the drops")?);
        all.sort_by_key(|seen| std::cmp::Reverse(seen.record.last_seen));
        Ok(all)
    }
}

const MAX_STEPS: usize = 4 * 65_536;

/// Returns all entries, each once: if a key disappears between two steps, the kernel restarts the iteration.
fn entries<const KEY: usize>(
    table: &Table<KEY>,
    parse: impl Fn(&[u8; KEY]) -> Option<Flow>,
) -> Result<Vec<Seen>> {
    let mut all = std::collections::HashMap::new();
    for key in table.keys().take(MAX_STEPS) {
        let key = key?;
        match table.get(&key, 0) {
            Ok(record) => drop(all.insert(key, record)),
            Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let seen = |(key, record)| {
        let flow = parse(&key).context("an entry is not this example's")?;
        Ok(Seen { flow, record: Record::parse(&record) })
    };
    all.into_iter().map(seen).collect()
}

pub struct Counters {
    totals: PerCpuArray<MapData, [u64; 2]>,
    reasons: PerCpuArray<MapData, u64>,
    lost: PerCpuArray<MapData, u64>,
}

impl Counters {
    pub fn open(maps: &MapSource) -> Result<Self> {
        Ok(Self {
            totals: maps.open("totals", MapAccess::Read)?,
            reasons: maps.open("reasons", MapAccess::Read)?,
            lost: maps.open("lost", MapAccess::Read)?,
        })
    }

    pub fn totals(&self) -> Result<Vec<(&'static str, u64, u64)>> {
        (0..)
            .zip(TOTALS)
            .map(|(slot, name)| {
                let cpus = self.totals.get(&slot, 0).with_context(|| format!("cannot read total {name}"))?;
                Ok((name, cpus.iter().map(|cpu| cpu[0]).sum(), cpus.iter().map(|cpu| cpu[1]).sum()))
            })
            .collect()
    }

    pub fn drops(&self) -> Result<Vec<(Option<DropReason>, u64)>> {
        let last = self.reasons.len() - 1;
        let mut all = Vec::new();
        for slot in 0..=last {
            let count: u64 = self.reasons.get(&slot, 0).context("cannot read the reasons")?.iter().sum();
            if count > 0 {
                all.push(((slot < last).then_some(DropReason(slot)), count));
            }
        }
        Ok(all)
    }

    pub fn lost(&self) -> Result<u64> {
        Ok(self.lost.get(&0, 0).context("cannot read the lost events")?.iter().sum())
    }
}
