//! Reports maps that programs of users and grants share with root's, as all loads did before records of version 4.

use crate::state::MapGroup;
use crate::state::records::ProgramRecord;

/// The program keeps the map until it is unloaded or the machine reboots.
pub(super) fn problem(program: &ProgramRecord) -> Option<String> {
    let owner = program.owner();
    // A load with a map owner was allowed to use that owner's maps.
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
