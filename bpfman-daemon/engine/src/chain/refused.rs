//! The verifier's refusal of a chain, and the member that caused it.

use bpfmand_kernel::KernelError;
use bpfmand_splice::Splice;

pub(crate) struct Refused {
    /// Function name of the member with the refused instruction, if the log contains it.
    pub member: Option<String>,
    pub source: KernelError,
}

/// Returns the index, within the whole chain, of the member with the instruction at which the verifier stopped.
pub(super) fn member_at(error: &KernelError, program: &Splice) -> Option<usize> {
    let at = error.rejection()?.instruction.as_ref()?;
    program.section_at(at.index).map(|section| section.part.member())
}
