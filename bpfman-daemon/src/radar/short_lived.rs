//! Detection of programs that came and went between two readings of the id list: ids are assigned in sequence.

use bpfman_model::{BoundText, Insn, ProgramId, ProgramType, op};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::{KernelError, KernelObjects as _, ProgramLoad};

/// Next free id at the previous reading.
#[derive(Debug, Default)]
pub struct IdWatermark {
    last: Option<ProgramId>,
}

impl IdWatermark {
    /// Returns how many programs came and went since the previous call, including the daemon's own tests.
    pub fn look(&mut self, kernel: &LinuxKernel) -> Result<u64, KernelError> {
        let now = next_id(kernel)?;
        // Programs loaded from here on have higher ids.
        let there = kernel.program_ids()?;
        Ok(self.last.replace(now).map_or(0, |last| gone(last, now, &there)))
    }
}

fn gone(last: ProgramId, now: ProgramId, there: &[ProgramId]) -> u64 {
    let given = now.0.saturating_sub(last.0).saturating_sub(1);
    let stays = there.iter().filter(|id| **id > last && **id < now).count() as u64;
    u64::from(given).saturating_sub(stays)
}

/// Loads a minimal program, unloads it and returns its id.
fn next_id(kernel: &LinuxKernel) -> Result<ProgramId, KernelError> {
    /// `BPF_ALU64 | BPF_MOV | BPF_K`.
    const MOVE: u8 = 0xb7;
    let insns = vec![Insn::new(MOVE, 0, 0, 0, 0), Insn::new(op::EXIT, 0, 0, 0, 0)];
    let text = BoundText::of_one_function("radar_turn", "GPL", insns);
    let load = ProgramLoad::new("radar_turn", &text, ProgramType::SocketFilter.into());
    let loaded = kernel.load_program(&load)?;
    Ok(kernel.program_of(&loaded.program)?.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_were_given_and_that_nothing_has_are_counted() {
        let ids = |ids: &[u32]| ids.iter().copied().map(ProgramId).collect::<Vec<_>>();
        assert_eq!(gone(ProgramId(10), ProgramId(11), &ids(&[3, 10])), 0);
        assert_eq!(gone(ProgramId(10), ProgramId(20), &ids(&[3, 12, 15, 20, 21])), 7);
        // The kernel starts again after the largest id.
        assert_eq!(gone(ProgramId(i32::MAX as u32), ProgramId(5), &ids(&[2])), 0);
    }
}
