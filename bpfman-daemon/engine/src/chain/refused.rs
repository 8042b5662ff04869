//! The verifier's refusal of a chain, and the member that caused it.

use bpfmand_kernel::KernelError;
use bpfmand_splice::Splice;

pub(crate) struct Refused {
    pub member: Option<String>,
    /// True if headers are parsed once for several members of the refused program.
    pub shares_headers: bool,
    pub source: KernelError,
}

/// Returns the index, within the whole chain, of the member at which the verifier stopped.
pub(super) fn member_at(error: &KernelError, program: &Splice) -> Option<usize> {
    let at = error.rejection()?.instruction.as_ref()?;
    program.section_at(at.index).map(|section| section.part.member())
}
