//! Counters of chains, without gaps across changes of a hook.
//!
//! The programs of a chain count in one map, with one row for each hook. A hook's counts are in its row of the current
//! chain, and in its record, which has the sums of all earlier chains.
//!
//! A change clears the hook's row of the new chain; swaps; records the new chain *and* the old one as not added yet
//! ([`HookRecord::folding`]); waits until no packet is inside the old one; records the sums of the old row. A reader
//! adds up the record, the row that is not added yet, and the current row. After a crash between any two steps, every
//! count is in exactly one of the three. If a change is interrupted before its record, the counts since the swap are
//! lost. A reboot clears the rows.

use std::collections::BTreeMap;

use bpfman_model::{HookKey, HookKind, LinkId, MapId};
use bpfmand_kernel::Kernel;
use bpfmand_splice::{CounterLayout, SpliceHook};

use crate::state::Changes;
use crate::state::chain_record::{ChainId, ChainRecord, Counted, HookCounted};
use crate::state::records::HookRecord;
use crate::{Engine, EngineError, paths};

/// Counters of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkCounters {
    pub link: LinkId,
    /// Number of packets that reached the member.
    pub runs: u64,
    /// Numbers of packets whose chain ended at this member, by verdict (`drop`, `shot`, `other`…), descending.
    pub ended: Vec<(&'static str, u64)>,
    /// Numbers of packets by the verdict that the member returned as a shadow, without effect, in descending order.
    pub shadowed: Vec<(&'static str, u64)>,
}

/// Counters of a hook since its members were attached, or since the machine started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainCounters {
    /// One entry for each member, in execution order.
    pub links: Vec<LinkCounters>,
    /// Number of packets for which every member proceeded.
    pub all_proceeded: u64,
    /// Number of packets lost by a failed tail call, which received the hook's fail verdict.
    pub failed: u64,
}

const TRIES: usize = 3;

impl<K: Kernel> Engine<K> {
    /// Returns the counters; `None` if they are off. They never decrease until a reboot, or the last member is detached.
    pub fn chain_counters(&self, key: &HookKey) -> Result<Option<ChainCounters>, EngineError> {
        for _ in 0..TRIES {
            let hook = self.hook_record(key)?;
            let read = self.read_counters(&hook);
            // A concurrent change may have added a row to the record and released its map.
            if self.hook_record(key).is_ok_and(|now| std::sync::Arc::ptr_eq(&now, &hook)) {
                return read;
            }
        }
        let _lock = self.lock(crate::engine::locks::Subject::Hook(*key));
        let hook = self.hook_record(key)?;
        self.read_counters(&hook)
    }

    fn hook_record(&self, key: &HookKey) -> Result<std::sync::Arc<HookRecord>, EngineError> {
        let hook = self.state().hooks.get(key).cloned();
        hook.ok_or_else(|| EngineError::NoChain { hook: format!("{} {}", key.kind.name(), key.ifindex) })
    }

    fn read_counters(&self, hook: &HookRecord) -> Result<Option<ChainCounters>, EngineError> {
        if hook.chain.as_ref().is_none_or(|chain| chain.counters.is_none()) {
            return Ok(None);
        }
        let mut sum = hook.counted.clone();
        if let Some(folding) = &hook.folding {
            self.add_row(&mut sum, &folding.chain, &folding.slots, &hook.key)?;
        }
        if let Some(chain) = &hook.chain {
            self.add_row(&mut sum, chain, &hook.slots, &hook.key)?;
        }
        let layout = CounterLayout::new(family(hook.key.kind), 1);
        let links = hook
            .slots
            .iter()
            .map(|link| {
                let counted = sum.links.get(link).cloned().unwrap_or_default();
                let (ended, shadowed) = (named(&layout, &counted.ended), named(&layout, &counted.shadowed));
                LinkCounters { link: *link, runs: counted.runs, ended, shadowed }
            })
            .collect();
        Ok(Some(ChainCounters { links, all_proceeded: sum.all_proceeded, failed: sum.failed }))
    }

    /// Adds the counts in a hook's row of a chain to a sum. A map that the kernel no longer has adds nothing.
    pub(crate) fn add_row(
        &self,
        sum: &mut HookCounted,
        chain: &ChainRecord,
        slots: &[LinkId],
        key: &HookKey,
    ) -> Result<(), EngineError> {
        let Some(map) = self.counters_map(chain)? else { return Ok(()) };
        let row = self.kernel.read_per_cpu(&map, CounterLayout::row(key.ifindex.0))?;
        let layout = CounterLayout::new(family(key.kind), chain.members.len());
        let shadows: Vec<bool> = chain.members.iter().map(|member| member.shadow).collect();
        add_cells(sum, &layout, &cells(&row, &layout), slots, &shadows);
        Ok(())
    }

    fn counters_map(&self, chain: &ChainRecord) -> Result<Option<K::Handle>, EngineError> {
        self.map_of_chain(chain, chain.counters, paths::COUNTERS)
    }

    /// Returns a map of a chain; `None` if it was created in another boot or is no longer pinned.
    pub(super) fn map_of_chain(
        &self,
        chain: &ChainRecord,
        id: Option<MapId>,
        name: &str,
    ) -> Result<Option<K::Handle>, EngineError> {
        let Some(id) = id.filter(|_| chain.boot == self.boot) else { return Ok(None) };
        let Some(folder) = self.chain_folder(chain.id)? else { return Ok(None) };
        match self.kernel.open_pin(&folder.join(name))? {
            Some(map) if self.kernel.map_of(&map)?.id == id => Ok(Some(map)),
            _ => Ok(None),
        }
    }

    pub(super) fn runs_chain(&self, key: &HookKey, chain: ChainId) -> bool {
        let hook = self.state().hooks.get(key).cloned();
        hook.is_some_and(|hook| hook.chain.as_ref().is_some_and(|own| own.id == chain))
    }

    pub(super) fn begin_counting(&self, key: &HookKey, chain: &ChainRecord) -> Result<(), EngineError> {
        if self.runs_chain(key, chain.id) {
            return Ok(());
        }
        let Some(map) = self.counters_map(chain)? else { return Ok(()) };
        let layout = CounterLayout::new(family(key.kind), chain.members.len());
        let zeros = vec![0; layout.value_size()];
        self.step("chain", "empty counters");
        Ok(self.kernel.write_per_cpu(&map, CounterLayout::row(key.ifindex.0), &zeros)?)
    }

    pub(crate) fn fold_counters(&self, key: &HookKey) -> Result<(), EngineError> {
        self.fold_counters_of(std::slice::from_ref(key))
    }

    /// Adds the counts for many hooks by one wait and one commit. The caller holds their locks.
    pub(super) fn fold_counters_of(&self, keys: &[HookKey]) -> Result<(), EngineError> {
        let hooks: Vec<_> = {
            let state = self.state();
            let hooks = keys.iter().filter_map(|key| state.hooks.get(key));
            hooks.filter(|hook| hook.folding.is_some()).cloned().collect()
        };
        if hooks.is_empty() {
            return Ok(());
        }
        // A packet inside an old chain at the swap is counted later.
        self.kernel.wait_for_readers()?;
        let mut changes = Changes::default();
        for hook in &hooks {
            let Some(folding) = &hook.folding else { continue };
            let mut counted = hook.counted.clone();
            self.add_row(&mut counted, &folding.chain, &folding.slots, &hook.key)?;
            self.note_leaving_chain(&hook.key, &folding.chain, &folding.slots);
            counted.links.retain(|link, _| hook.slots.contains(link));
            changes.put_hook(HookRecord { counted, folding: None, ..(**hook).clone() });
        }
        self.step("chain", "add counters");
        self.commit(changes)?;
        for folding in hooks.iter().filter_map(|hook| hook.folding.as_ref()) {
            self.drop_unused_chain(&folding.chain);
        }
        Ok(())
    }

    pub(crate) fn text_of_hook(&self, key: &HookKey) -> String {
        let hook = self.state().hooks.get(key).cloned();
        hook.map_or_else(
            || format!("{} at interface {}", key.kind.name(), key.ifindex),
            |hook| key.kind.at(&hook.interface),
        )
    }
}

pub(crate) const fn family(kind: HookKind) -> SpliceHook {
    match kind {
        HookKind::Xdp => SpliceHook::Xdp,
        HookKind::Tc(_) | HookKind::Tcx(_) => SpliceHook::TcTcx,
    }
}

fn cells(row: &[Vec<u8>], layout: &CounterLayout) -> Vec<u64> {
    let mut sums = vec![0_u64; layout.slots * layout.columns];
    for cpu in row {
        for (sum, bytes) in sums.iter_mut().zip(cpu.chunks_exact(8)) {
            let cell = bytes.try_into().map_or(0, u64::from_ne_bytes);
            *sum = sum.wrapping_add(cell);
        }
    }
    sums
}

fn named(layout: &CounterLayout, columns: &BTreeMap<u8, u64>) -> Vec<(&'static str, u64)> {
    let name = |(column, packets): (&u8, &u64)| Some((layout.column_name(usize::from(*column))?, *packets));
    let mut named: Vec<(&'static str, u64)> = columns.iter().filter_map(name).collect();
    named.sort_by_key(|(name, packets)| (std::cmp::Reverse(*packets), *name));
    named
}

fn add_cells(
    sum: &mut HookCounted,
    layout: &CounterLayout,
    cells: &[u64],
    slots: &[LinkId],
    shadows: &[bool],
) {
    let of_slot = |slot: usize| cells.get(slot * layout.columns..(slot + 1) * layout.columns).unwrap_or(&[]);
    let all_proceeded: u64 = of_slot(layout.all_proceeded()).iter().sum();
    sum.all_proceeded += all_proceeded;
    let failed_column = layout.failed_column();
    // Start at the last slot: a packet that left at a later slot has passed all earlier ones.
    let mut later = all_proceeded;
    for slot in (0..layout.all_proceeded()).rev() {
        let columns = of_slot(slot);
        let failed = columns.get(failed_column).copied().unwrap_or(0);
        sum.failed += failed;
        let ended =
            columns.iter().enumerate().filter(|(column, cell)| *column != failed_column && **cell > 0);
        let ended: BTreeMap<u8, u64> = ended.map(|(column, cell)| (column as u8, *cell)).collect();
        // A shadow does not end the chain for a packet.
        let is_shadow = shadows.get(slot).is_some_and(|shadow| *shadow);
        let runs = later + if is_shadow { 0 } else { ended.values().sum::<u64>() };
        // A packet whose tail call failed has passed the members before this one, but not this one.
        later = runs + failed;
        if let Some(link) = slots.get(slot) {
            let counted: &mut Counted = sum.links.entry(*link).or_default();
            counted.runs += runs;
            let answers = if is_shadow { &mut counted.shadowed } else { &mut counted.ended };
            for (column, packets) in ended {
                *answers.entry(column).or_default() += packets;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DROP: i32 = 1;

    fn row(layout: &CounterLayout, exits: &[(usize, i32, u64)], failed: &[(usize, u64)]) -> Vec<u64> {
        let mut cells = vec![0; layout.slots * layout.columns];
        for (slot, code, packets) in exits {
            cells[layout.cell(*slot, *code)] += packets;
        }
        for (slot, packets) in failed {
            cells[layout.failed_cell(*slot)] += packets;
        }
        cells
    }

    #[test]
    fn a_member_runs_for_every_packet_that_leaves_there_or_later() {
        let layout = CounterLayout::new(SpliceHook::Xdp, 3);
        let links = [LinkId(7), LinkId(8), LinkId(9)];
        let cells = row(&layout, &[(0, DROP, 5), (2, DROP, 2), (3, 2, 10)], &[]);
        let mut sum = HookCounted::default();
        add_cells(&mut sum, &layout, &cells, &links, &[]);
        let runs: Vec<u64> = links.iter().map(|link| sum.links[link].runs).collect();
        assert_eq!(runs, [17, 12, 12]);
        assert_eq!((sum.all_proceeded, sum.failed), (10, 0));
        assert_eq!(sum.links[&LinkId(7)].ended, BTreeMap::from([(1, 5)]));
        assert!(sum.links[&LinkId(8)].ended.is_empty());
    }

    #[test]
    fn verdict_of_a_shadow_ends_no_packet() {
        let layout = CounterLayout::new(SpliceHook::Xdp, 2);
        let links = [LinkId(7), LinkId(8)];
        let cells = row(&layout, &[(0, DROP, 7), (0, 2, 2), (1, DROP, 2), (2, 2, 7)], &[]);
        let mut sum = HookCounted::default();
        add_cells(&mut sum, &layout, &cells, &links, &[true, false]);
        assert_eq!((sum.links[&LinkId(7)].runs, sum.links[&LinkId(8)].runs), (9, 9));
        assert_eq!(sum.links[&LinkId(7)].shadowed, BTreeMap::from([(1, 7), (2, 2)]));
        assert!(sum.links[&LinkId(7)].ended.is_empty());
    }

    #[test]
    fn lost_packet_ran_the_members_before_and_not_the_lost_one() {
        let layout = CounterLayout::new(SpliceHook::TcTcx, 2);
        let links = [LinkId(1), LinkId(2)];
        let cells = row(&layout, &[(2, -1, 1)], &[(1, 4)]);
        let mut sum = HookCounted::default();
        add_cells(&mut sum, &layout, &cells, &links, &[]);
        assert_eq!((sum.links[&LinkId(1)].runs, sum.links[&LinkId(2)].runs), (5, 1));
        assert_eq!(sum.failed, 4);
    }

    #[test]
    fn rows_of_all_cpus_and_of_former_chains_add_up() {
        let layout = CounterLayout::new(SpliceHook::Xdp, 1);
        let cell = |packets: u64| {
            row(&layout, &[(0, DROP, packets)], &[]).iter().flat_map(|cell| cell.to_ne_bytes()).collect()
        };
        let summed = cells(&[cell(3), cell(4)], &layout);
        let mut sum = HookCounted::default();
        for _ in 0..2 {
            add_cells(&mut sum, &layout, &summed, &[LinkId(1)], &[]);
        }
        assert_eq!(
            sum.links[&LinkId(1)],
            Counted { runs: 14, ended: BTreeMap::from([(1, 14)]), ..Counted::default() }
        );
    }
}
