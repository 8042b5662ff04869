//! Time of members, from the timed twin, which one packet in 1,024 goes through. The mean cost of reading the clock,
//! measured for each timed packet and program, is subtracted from each member's mean.
//!
//! Times start when the hook begins to run a chain: a mean needs no history, and a change may affect times.

use bpfman_model::HookKey;
use bpfmand_kernel::Kernel;
use bpfmand_splice::{CounterLayout, TimeLayout};

use crate::state::chain_record::ChainRecord;
use crate::state::cpu_time::MemberTime;
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    pub(crate) fn chain_times(
        &self,
        key: &HookKey,
        chain: &ChainRecord,
    ) -> Result<Option<Vec<MemberTime>>, EngineError> {
        let Some(map) = self.times_map(chain)? else { return Ok(None) };
        let row = self.kernel.read_per_cpu(&map, CounterLayout::row(key.ifindex.0))?;
        Ok(Some(times(&row, TimeLayout::new(chain.members.len()))))
    }

    pub(super) fn begin_timing(&self, key: &HookKey, chain: &ChainRecord) -> Result<(), EngineError> {
        if self.runs_chain(key, chain.id) {
            return Ok(());
        }
        let Some(map) = self.times_map(chain)? else { return Ok(()) };
        let zeros = vec![0; TimeLayout::new(chain.members.len()).value_size()];
        self.step("chain", "empty times");
        Ok(self.kernel.write_per_cpu(&map, CounterLayout::row(key.ifindex.0), &zeros)?)
    }

    fn times_map(&self, chain: &ChainRecord) -> Result<Option<K::Handle>, EngineError> {
        self.map_of_chain(chain, chain.twin.as_ref().map(|twin| twin.times), paths::TIMES)
    }
}

/// Returns the times in a row, summed over all CPUs, in the order of the members.
fn times(row: &[Vec<u8>], layout: TimeLayout) -> Vec<MemberTime> {
    let cell = |index: usize| {
        let of_cpu = |cpu: &Vec<u8>| cpu.as_chunks::<8>().0.get(index).copied().map_or(0, u64::from_ne_bytes);
        row.iter().map(of_cpu).fold(0_u64, u64::wrapping_add)
    };
    let slot = |slot: usize| (cell(layout.samples(slot)), cell(layout.samples(slot) + 1));
    let (clock_samples, clock_nanoseconds) = slot(layout.clock());
    (0..layout.clock())
        .map(|member| {
            let (samples, nanoseconds) = slot(member);
            MemberTime { samples, nanoseconds, clock_samples, clock_nanoseconds }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_all_cpus_add_up_and_lose_the_clocks_own() {
        let cpu = |cells: [u64; 6]| cells.iter().flat_map(|cell| cell.to_ne_bytes()).collect::<Vec<u8>>();
        let row = [cpu([1, 130, 0, 0, 2, 60]), cpu([3, 430, 0, 0, 2, 100])];
        let [first, second] = times(&row, TimeLayout::new(2))[..] else { panic!() };
        assert_eq!((first.samples, first.nanoseconds), (4, 560));
        assert_eq!(first.nanoseconds_per_run(), Some(100.0), "140 less 40 for the clock");
        assert_eq!(second.nanoseconds_per_run(), None, "no packet reached it");
    }

    #[test]
    fn a_member_that_takes_less_than_the_clock_takes_nothing() {
        let time = MemberTime { samples: 2, nanoseconds: 70, clock_samples: 2, clock_nanoseconds: 80 };
        assert_eq!(time.nanoseconds_per_run(), Some(0.0));
    }
}
