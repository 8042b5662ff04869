//! What the verifier said of a chain, and of which member it said it.

use bpfmand_kernel::KernelError;
use bpfmand_splice::Splice;

/// A program of a chain that the verifier refused.
pub(crate) struct Refused {
    /// Function name of the member whose instruction it was, where the log tells.
    pub member: Option<String>,
    /// The kernel's answer.
    pub source: KernelError,
}

/// The member whose instruction the verifier was at when it gave up, counted in the whole chain.
pub(super) fn member_at(error: &KernelError, program: &Splice) -> Option<usize> {
    let at = error.rejection()?.instruction.as_ref()?;
    program.section_at(at.index).map(|section| section.part.member())
}
