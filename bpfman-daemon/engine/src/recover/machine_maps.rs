//! Maps that programs of users and grants still share with root's, as all loads did before records of version 4.

use bpfmand_kernel::Kernel;

use crate::Engine;
use crate::engine::RecoveryReport;
use crate::state::MapGroup;
use crate::state::records::ProgramRecord;

impl<K: Kernel> Engine<K> {
    /// Reports programs that have such maps. They keep them until they are unloaded or the machine reboots.
    pub(crate) fn report_machine_maps(&self, report: &mut RecoveryReport) {
        report.problems.extend(self.state().programs.values().filter_map(|program| problem(program)));
    }
}

fn problem(program: &ProgramRecord) -> Option<String> {
    let owner = program.owner();
    // With the maps of a program that it names it was loaded by the right to these.
    if program.map_owner_uid.is_some() || MapGroup::of(&owner, &program.metadata).is_machine() {
        return None;
    }
    let map = program.maps.iter().find(|map| map.shared && map.group.is_machine())?;
    Some(format!(
        "program {} of {owner} shares the map \"{}\" with programs of other owners, as an earlier version allowed; unload it, \
         and load it again for a map of its owner's",
        program.id, map.name
    ))
}
