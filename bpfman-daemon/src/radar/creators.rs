//! Finding the process that created an object in the id lists: the process with a descriptor of it.

use bpfman_model::Holder;
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::{KernelFacts as _, ObjectHolders};

use super::ids::ChangedId;

/// Descriptors of all processes, read on first use. A process that queries a program has a descriptor of it for a
/// moment: of several processes, only those that still have it at a second reading count.
pub(super) struct ProcessDescriptors<'k> {
    kernel: &'k LinuxKernel,
    first: Option<ObjectHolders>,
    second: Option<ObjectHolders>,
}

impl<'k> ProcessDescriptors<'k> {
    pub(super) fn of_kernel(kernel: &'k LinuxKernel) -> Self {
        Self { kernel, first: None, second: None }
    }

    pub(super) fn maker(&mut self, of: &ChangedId) -> Option<&Holder> {
        let look = || self.kernel.all_holders().unwrap_or_default();
        let first = holders(self.first.get_or_insert_with(look), of);
        if first.len() < 2 {
            return first.first();
        }
        let second = holders(self.second.get_or_insert_with(look), of);
        steady(first, second)
    }
}

fn holders<'h>(all: &'h ObjectHolders, of: &ChangedId) -> &'h [Holder] {
    let found = if of.link == 0 { all.programs.get(&of.program) } else { all.links.get(&of.link) };
    found.map_or(&[], Vec::as_slice)
}

/// Returns the first holder present at both readings, or else the first holder of the first one.
fn steady<'h>(first: &'h [Holder], second: &[Holder]) -> Option<&'h Holder> {
    let stays = |holder: &&Holder| second.iter().any(|other| other.pid == holder.pid);
    first.iter().find(stays).or_else(|| first.first())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(pid: u32) -> Holder {
        Holder { pid, command: String::new(), unit: None }
    }

    #[test]
    fn process_that_only_reads_is_not_the_creator() {
        let pid = |first: &[Holder], second: &[Holder]| steady(first, second).map(|holder| holder.pid);
        assert_eq!(pid(&[holder(5), holder(9)], &[holder(9)]), Some(9));
        assert_eq!(pid(&[holder(5), holder(9)], &[holder(5), holder(9)]), Some(5));
        assert_eq!(pid(&[holder(5), holder(9)], &[]), Some(5));
        assert_eq!(pid(&[], &[]), None);
    }
}
