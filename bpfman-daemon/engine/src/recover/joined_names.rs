//! Reports cluster applications whose names contain a slash, which earlier versions accepted.

use crate::state::recorded_application;
use crate::state::records::ProgramRecord;

/// A record stores the owner as text, in which `shop/wall` means the application `wall` of the namespace `shop`: the
/// program counts as that namespace's, but was loaded without its guard.
pub(super) fn problem(program: &ProgramRecord) -> Option<String> {
    let owner = program.owner();
    let namespace = owner.namespace()?;
    let claimed = recorded_application(&program.metadata).filter(|claimed| claimed.namespace.is_none())?;
    Some(format!(
        "program {} was loaded for the cluster application \"{claimed}\", whose name has a slash, which names may no longer \
         have: it counts as one of namespace {namespace}, and runs without the guard of that namespace's programs; unload it, \
         and load it for an application with another name",
        program.id
    ))
}
