//! Numbers of program types on the wire.

use bpfman_model::ProgramType;

use crate::ext::v1::ProgramTypeNumber;
use crate::v1::BpfmanProgramType;

/// Returns the number of a type: of `bpfman.v1`, or of the types that it lacks. A return probe of `bpfman.v1` has that
/// of its entry probe.
#[must_use]
pub fn type_number(program_type: ProgramType) -> i32 {
    // Both enumerations have the names of the types, in upper case.
    let name = program_type.declared().name().to_ascii_uppercase();
    let published = BpfmanProgramType::from_str_name(&name).map(i32::from);
    published.unwrap_or_else(|| ProgramTypeNumber::from_str_name(&name).unwrap_or_default().into())
}

/// Returns the type of a number; `None` if no type has it.
#[must_use]
pub fn type_of_number(number: i32) -> Option<ProgramType> {
    let published = BpfmanProgramType::try_from(number).ok().map(|known| known.as_str_name());
    let name = published.or_else(|| Some(ProgramTypeNumber::try_from(number).ok()?.as_str_name()))?;
    name.to_ascii_lowercase().parse().ok()
}
