//! Readings of the CPU time of programs and chains, including those that are being removed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bpfman_model::{HookKey, LinkId, ProgramId, RunCounts};
use bpfmand_kernel::Kernel;

use crate::state::chain_record::{ChainRecord, HookCounted};
use crate::state::cpu_time::{ChainReading, MemberReading, MemberTime, ProgramReading, is_tenants_probe};
use crate::state::payer;
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    pub(crate) fn read_alone(&self, program: &ProgramRecord) -> Result<Option<ProgramReading>, EngineError> {
        let (uid, is_ours) = (program.uid, !program.is_adopted());
        let ran = self.ran(program.id)?;
        Ok(ran.map(|ran| ProgramReading {
            program: uid,
            nanoseconds: ran.nanoseconds,
            runs: ran.runs,
            meets_traps: is_tenants_probe(program),
            is_ours,
        }))
    }

    pub(crate) fn note_leaving_program(&self, program: &ProgramRecord) {
        if self.state().departed.is_none() {
            return;
        }
        match self.read_alone(program) {
            Ok(Some(reading)) => {
                if let Some(departed) = &mut self.state().departed {
                    departed.add_program(program.id, reading, (program.owner(), payer(program)));
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "what a program took before it left is charged to no owner"),
        }
    }

    pub(crate) fn note_leaving_chain(&self, key: &HookKey, chain: &ChainRecord, slots: &[LinkId]) {
        if self.state().departed.is_none() {
            return;
        }
        let mut read = HashMap::new();
        if let Err(error) = self.read_chain(key, chain, slots, &mut read) {
            tracing::warn!(%error, "what a chain took before it left is charged to no owner");
        }
        if let Some(departed) = &mut self.state().departed {
            for (entry, reading) in read {
                departed.add_chain(entry, reading);
            }
        }
    }

    fn ran(&self, id: ProgramId) -> Result<Option<RunCounts>, EngineError> {
        let Some(program) = self.kernel.open_program(id)? else { return Ok(None) };
        Ok(Some(self.kernel.run_counts(&program)?))
    }

    pub(crate) fn read_chain(
        &self,
        key: &HookKey,
        chain: &ChainRecord,
        slots: &[LinkId],
        read: &mut HashMap<ProgramId, ChainReading>,
    ) -> Result<(), EngineError> {
        let Some(entry) = chain.segments.first().filter(|_| chain.boot == self.boot) else { return Ok(()) };
        let mut counted = HookCounted::default();
        self.add_row(&mut counted, chain, slots, key)?;
        let times = self.chain_times(key, chain)?.unwrap_or_default();
        let reading = match read.entry(entry.program) {
            Entry::Occupied(reading) => reading.into_mut(),
            Entry::Vacant(place) => {
                let Some(RunCounts { nanoseconds, .. }) = self.ran(entry.program)? else { return Ok(()) };
                let none = |program| MemberReading { program, packets: 0, time: MemberTime::default() };
                let members = chain.members.iter().map(|member| none(member.program)).collect();
                place.insert(ChainReading { nanoseconds, members })
            }
        };
        for (place, member) in reading.members.iter_mut().enumerate() {
            let of_link = slots.get(place).and_then(|link| counted.links.get(link));
            member.packets += of_link.map_or(0, |counted| counted.runs);
            if let Some(time) = times.get(place) {
                member.time = member.time.and(time);
            }
        }
        Ok(())
    }
}
