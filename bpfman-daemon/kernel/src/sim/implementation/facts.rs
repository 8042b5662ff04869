//! What the kernel tells of itself, of counts, and of processes.

use std::path::PathBuf;

use bpfmand_core::{ContainerFacts, Held, Holder, Peer, RunCounts, WantedContainers};

use crate::sim::{Counted, SimHandle, SimKernel, errno::ENOENT, refuse};
use crate::{Features, KernelError, KernelFacts, RunClock};

impl KernelFacts for SimKernel {
    fn features(&self) -> &Features {
        &self.features
    }

    fn boot(&self) -> Result<String, KernelError> {
        Ok(format!("boot-{}", self.enter("boot")?.objects.generation))
    }

    fn btf(&self) -> Result<Vec<u8>, KernelError> {
        let _world = self.enter("btf")?;
        self.btf.clone().ok_or_else(|| refuse("read", "the kernel's BTF", ENOENT))
    }

    fn module_btfs(&self) -> Result<Vec<(String, Vec<u8>)>, KernelError> {
        Ok(Vec::new())
    }

    fn count_runs(&self) -> Result<Box<dyn RunClock>, KernelError> {
        self.enter("count_runs").map(|_| Box::new(()) as Box<dyn RunClock>)
    }

    fn run_counts(&self, program: &SimHandle) -> Result<RunCounts, KernelError> {
        let mut world = self.enter("run_counts")?;
        let name = world.program_facts(program.key)?.name;
        Ok(world.counted.get_mut(&name).map(Counted::look).unwrap_or_default())
    }

    fn containers(&self, wanted: &WantedContainers) -> Result<Vec<ContainerFacts>, KernelError> {
        let world = self.enter("containers")?;
        let is_wanted = |found: &&ContainerFacts| !wanted.named_by(found.id.as_str()).is_empty();
        Ok(world.containers.iter().filter(is_wanted).cloned().collect())
    }

    fn first_hidden(&self, _: &Peer, _: &[PathBuf], _: bool) -> Result<Option<usize>, KernelError> {
        // There are no files to keep anyone from.
        Ok(None)
    }

    fn is_contained(&self, pid: u32) -> bool {
        self.enter("is contained")
            .is_ok_and(|world| world.containers.iter().any(|one| one.pids.contains(&pid)))
    }

    fn holders(&self, of: Held) -> Result<Vec<Holder>, KernelError> {
        Ok(self.enter("holders")?.holders(of))
    }
}
