use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bpfman_model::{
    ContainerTasks, FileReader, FoundContainers, Held, Holder, MachineTime, RunCounts, TaskGroup,
    WantedContainers,
};

use crate::{Features, Inventory, KernelError, KernelObjects, ObjectHolders, PrintFeed, RunClock};

/// Facts about the kernel, run counts, and processes.
pub trait KernelFacts: KernelObjects {
    /// Returns the features of this kernel.
    fn features(&self) -> &Features;

    /// Tests the supported program types, map types and helpers, which takes about a tenth of a second.
    fn inventory(&self) -> Inventory;

    /// Returns the readable kernel settings that affect programs, by name.
    fn settings(&self) -> Vec<(&'static str, String)>;

    /// Returns the id of this boot.
    fn boot(&self) -> Result<String, KernelError>;

    /// Returns the time within this boot.
    fn now(&self) -> Result<MachineTime, KernelError>;

    /// Returns the kernel's own BTF. Fails if the kernel has none.
    fn btf(&self) -> Result<Vec<u8>, KernelError>;

    /// Returns the split BTF of the loaded modules, continuing [`KernelFacts::btf`], ascending by name.
    fn module_btfs(&self) -> Result<Vec<(String, Vec<u8>)>, KernelError>;

    /// Returns the addresses of kernel and module symbols; several if ambiguous, zero if hidden. Takes some 50 ms.
    fn symbol_addresses(
        &self,
        names: &BTreeSet<&str>,
    ) -> Result<BTreeMap<String, BTreeSet<u64>>, KernelError>;

    /// Returns the kernel's `.config`. Fails if neither kernel nor distribution provides it.
    fn build_config(&self) -> Result<String, KernelError>;

    /// Enables run statistics for all programs until the result is dropped. Fails before Linux 5.8.
    fn count_runs(&self) -> Result<Box<dyn RunClock>, KernelError>;

    /// Follows `bpf_printk` in a trace buffer that is removed with the result. Fails before Linux 5.9.
    fn follow_prints(&self) -> Result<Box<dyn PrintFeed>, KernelError>;

    /// Returns the run statistics of a program since its load, counted while enabled.
    fn run_counts(&self, program: &Self::Handle) -> Result<RunCounts, KernelError>;

    /// Returns the processes with a descriptor of an object, by pid, in some milliseconds per hundred processes.
    fn holders(&self, of: Held) -> Result<Vec<Holder>, KernelError>;

    /// Returns the holders of all programs and links, in a single search as in [`KernelFacts::holders`].
    fn all_holders(&self) -> Result<ObjectHolders, KernelError>;

    /// Returns the running containers among `wanted`, found by cgroup names that root assigned, in some milliseconds.
    fn containers(&self, wanted: &WantedContainers) -> Result<FoundContainers, KernelError>;

    /// Returns the tasks of a process's container: by cgroup, if the daemon sees the whole version 2 hierarchy, else by
    /// pid namespace. [`KernelError::NoTaskGroup`]: the process is gone, or in no container.
    fn tasks_of_container(&self, pid: u32) -> Result<ContainerTasks, KernelError>;

    /// Returns the tasks of a cgroup (version 2). [`KernelError::NoTaskGroup`]: the cgroup is missing, or is the root.
    fn tasks_of_group(&self, path: &str) -> Result<TaskGroup, KernelError>;

    /// Returns the user ids in a cgroup and below. [`KernelError::NoTaskGroup`]: it is not `tasks`, or too large.
    fn users_of_group(&self, path: &str, tasks: &TaskGroup) -> Result<BTreeSet<u32>, KernelError>;

    /// Returns the start time of one of `tasks`, in ticks of 10 ms since boot, to recognize a later use of the pid.
    fn task_began(&self, tasks: &TaskGroup, pid: u32) -> Option<u64>;

    /// Returns the names of loaded kernel modules.
    fn loaded_modules(&self) -> BTreeSet<String>;

    /// Returns the inode of a loaded module's folder in sysfs, which changes with each load.
    fn module_inode(&self, name: &str) -> Option<u64>;

    /// Returns the start time of a process, in ticks of 10 ms since boot; `None` if it is gone.
    fn process_began(&self, pid: u32) -> Option<u64>;

    /// Returns the index of the first path that `caller` may not reach or, if `read`, not read. Absent paths do not
    /// count.
    fn first_hidden(
        &self,
        caller: &FileReader,
        paths: &[PathBuf],
        read: bool,
    ) -> Result<Option<usize>, KernelError>;

    /// Returns the online CPUs, ascending.
    fn online_cpus(&self) -> Result<Vec<u32>, KernelError>;
}
