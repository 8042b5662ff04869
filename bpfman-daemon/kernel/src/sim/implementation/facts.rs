use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bpfman_model::{
    ContainerTasks, FileReader, FoundContainers, Held, Holder, MachineTime, RunCounts, TaskGroup,
    WantedContainers,
};

use crate::sim::{SimHandle, SimKernel, errno::ENOENT, refuse};
use crate::{Features, Inventory, KernelError, KernelFacts, ObjectHolders, PrintFeed, RunClock};

impl KernelFacts for SimKernel {
    fn features(&self) -> &Features {
        &self.features
    }

    fn inventory(&self) -> Inventory {
        // Empty, because nothing was tried: this kernel accepts all programs of the engine.
        Inventory::default()
    }

    fn symbol_addresses(
        &self,
        names: &BTreeSet<&str>,
    ) -> Result<BTreeMap<String, BTreeSet<u64>>, KernelError> {
        drop(self.enter("symbol_addresses")?);
        // Functions that exist have some address.
        let known = names.iter().filter(|name| !name.starts_with("no_such"));
        Ok(known.zip(1..).map(|(name, at)| ((*name).to_owned(), BTreeSet::from([at << 12]))).collect())
    }

    fn build_config(&self) -> Result<String, KernelError> {
        drop(self.enter("build_config")?);
        Ok("CONFIG_BPF=y\nCONFIG_HZ=250\n".to_owned())
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn boot(&self) -> Result<String, KernelError> {
        Ok(format!("boot-{}", self.enter("boot")?.objects.generation))
    }

    fn now(&self) -> Result<MachineTime, KernelError> {
        let state = self.enter("now")?;
        let boot = format!("boot-{}", state.objects.generation);
        Ok(MachineTime { boot, since_boot: state.clock.since_boot, wall: state.clock.wall })
    }

    fn btf(&self) -> Result<Vec<u8>, KernelError> {
        let _world = self.enter("btf")?;
        self.btf.clone().ok_or_else(|| KernelError::no_btf(self.features().release.clone()))
    }

    fn module_btfs(&self) -> Result<Vec<(String, Vec<u8>)>, KernelError> {
        Ok(Vec::new())
    }

    fn count_runs(&self) -> Result<Box<dyn RunClock>, KernelError> {
        self.enter("count_runs").map(|_| Box::new(()) as Box<dyn RunClock>)
    }

    fn follow_prints(&self) -> Result<Box<dyn PrintFeed>, KernelError> {
        let _world = self.enter("follow_prints")?;
        Err(refuse("follow", "what programs print", ENOENT))
    }

    fn run_counts(&self, program: &SimHandle) -> Result<RunCounts, KernelError> {
        // The test sets the counts, since no program runs here.
        let state = self.enter("run_counts")?;
        let facts = state.program_facts(program.key)?;
        Ok(state.run_counts.get(&facts.id).copied().unwrap_or_default())
    }

    fn containers(&self, _: &WantedContainers) -> Result<FoundContainers, KernelError> {
        self.enter("containers").map(|_| FoundContainers::default())
    }

    fn tasks_of_container(&self, pid: u32) -> Result<ContainerTasks, KernelError> {
        let state = self.enter("tasks_of_container")?;
        // Every process has a container of its own; 0 is no process.
        let tasks = TaskGroup::ControlGroup { level: 2, id: state.objects.generation << 32 | u64::from(pid) };
        match state.process_began(pid) {
            None => Err(KernelError::NoTaskGroup { of: format!("process {pid}"), reason: "it is gone" }),
            Some(began) => Ok(ContainerTasks { tasks, began }),
        }
    }

    fn tasks_of_group(&self, path: &str) -> Result<TaskGroup, KernelError> {
        let generation = self.enter("tasks_of_group")?.objects.generation;
        Ok(TaskGroup::ControlGroup { level: 1, id: generation << 32 | path.len() as u64 })
    }

    fn users_of_group(&self, path: &str, tasks: &TaskGroup) -> Result<BTreeSet<u32>, KernelError> {
        if self.tasks_of_group(path)? != *tasks {
            let of = format!("cgroup {path}");
            return Err(KernelError::NoTaskGroup { of, reason: "another cgroup has its path" });
        }
        Ok(self.enter("users_of_group")?.targets.users_of(path))
    }

    fn task_began(&self, tasks: &TaskGroup, pid: u32) -> Option<u64> {
        let found = self.tasks_of_container(pid).ok()?;
        let group = self.state().targets.group_of(pid);
        let in_group = group.and_then(|path| self.tasks_of_group(&path).ok()) == Some(*tasks);
        (in_group || found.tasks == *tasks).then_some(found.began)
    }

    fn process_began(&self, pid: u32) -> Option<u64> {
        self.enter("process_began").ok()?.process_began(pid)
    }

    fn loaded_modules(&self) -> BTreeSet<String> {
        self.state().targets.loaded_modules()
    }

    fn module_inode(&self, name: &str) -> Option<u64> {
        self.enter("module_inode").ok()?.targets.module_inode(name)
    }

    fn first_hidden(
        &self,
        caller: &FileReader,
        paths: &[PathBuf],
        _: bool,
    ) -> Result<Option<usize>, KernelError> {
        Ok(self.state().targets.first_hidden(paths).filter(|_| caller.uid != 0))
    }

    fn online_cpus(&self) -> Result<Vec<u32>, KernelError> {
        Ok(self.enter("online_cpus")?.online_cpus.clone())
    }

    fn holders(&self, of: Held) -> Result<Vec<Holder>, KernelError> {
        Ok(self.enter("holders")?.holders(of))
    }

    fn all_holders(&self) -> Result<ObjectHolders, KernelError> {
        Ok(self.enter("all_holders")?.all_holders())
    }
}
