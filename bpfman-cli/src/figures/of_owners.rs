use std::collections::BTreeMap;

use super::{MapMemory, OwnerRates, ProgramRates};

pub(super) fn owners(programs: &[ProgramRates], maps: &[MapMemory]) -> Vec<OwnerRates> {
    let mut found: BTreeMap<&str, OwnerRates> = BTreeMap::new();
    for program in programs {
        let sums = of(&mut found, program.owner.as_deref().unwrap_or_default());
        sums.programs += 1;
        sums.memory_bytes += program.memory_bytes;
        sums.cpu_percent = sum(sums.cpu_percent, program.cpu_percent);
        sums.runs_per_second = sum(sums.runs_per_second, program.runs_per_second);
        sums.is_partly_timed |= program.is_partly_timed;
    }
    for map in maps {
        for owner in &map.owners {
            let sums = of(&mut found, owner);
            sums.maps += 1;
            sums.memory_bytes += map.memory_bytes;
        }
    }
    let mut owners: Vec<OwnerRates> = found.into_values().collect();
    let order = |owner: &OwnerRates| owner.cpu_percent.unwrap_or(-1.0);
    owners.sort_by(|a, b| order(b).total_cmp(&order(a)).then_with(|| a.owner.cmp(&b.owner)));
    owners
}

fn of<'a, 'o>(found: &'a mut BTreeMap<&'o str, OwnerRates>, owner: &'o str) -> &'a mut OwnerRates {
    found.entry(owner).or_insert_with(|| OwnerRates {
        owner: owner.to_owned(),
        programs: 0,
        cpu_percent: None,
        is_partly_timed: false,
        runs_per_second: None,
        memory_bytes: 0,
        maps: 0,
    })
}

fn sum(all: Option<f64>, one: Option<f64>) -> Option<f64> {
    match (all, one) {
        (Some(all), Some(one)) => Some(all + one),
        (all, one) => all.or(one),
    }
}
