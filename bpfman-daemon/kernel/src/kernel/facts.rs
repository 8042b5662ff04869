use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bpfmand_core::{
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

    /// Returns the kernel settings that affect programs, as text, by name. Unreadable ones are left out.
    fn settings(&self) -> Vec<(&'static str, String)>;

    /// Returns the id of this boot: records with another id are of an earlier boot. Fails if the kernel does not report
    /// it.
    fn boot(&self) -> Result<String, KernelError>;

    /// Returns the time within this boot. Fails if the kernel does not report its boot id.
    fn now(&self) -> Result<MachineTime, KernelError>;

    /// Returns the kernel's own BTF. Fails if the kernel has none, or it cannot be read.
    fn btf(&self) -> Result<Vec<u8>, KernelError>;

    /// Returns the split BTF of each loaded module, which continues [`KernelFacts::btf`], ascending by name. Modules
    /// without BTF are left out. Fails if it cannot be read.
    fn module_btfs(&self) -> Result<Vec<(String, Vec<u8>)>, KernelError>;

    /// Returns the addresses of symbols of the kernel and its modules; several if the name is ambiguous. Zero stands
    /// for addresses hidden from this process. Reads all symbols, which takes some 50 ms. Fails if the kernel does not
    /// list symbols.
    fn symbol_addresses(
        &self,
        names: &BTreeSet<&str>,
    ) -> Result<BTreeMap<String, BTreeSet<u64>>, KernelError>;

    /// Returns the kernel's build configuration, the text of its `.config`. Fails if neither the kernel nor its
    /// distribution provides it.
    fn build_config(&self) -> Result<String, KernelError>;

    /// Enables run statistics for all programs until the result is dropped, or this process ends. Fails before Linux
    /// 5.8, or if the kernel refuses.
    fn count_runs(&self) -> Result<Box<dyn RunClock>, KernelError>;

    /// Follows the output of `bpf_printk`, with a trace buffer that is removed with the result. Fails before Linux 5.9,
    /// or if trace buffers cannot be created.
    fn follow_prints(&self) -> Result<Box<dyn PrintFeed>, KernelError>;

    /// Returns the run statistics of a program since its load, while statistics were enabled. Fails if the kernel
    /// refuses.
    fn run_counts(&self, program: &Self::Handle) -> Result<RunCounts, KernelError>;

    /// Returns the processes with an open descriptor of an object, including this one, by pid. Reads `/proc`, which
    /// takes some milliseconds per hundred processes. Processes that end meanwhile are left out, and the search stops
    /// after a million descriptors. Fails if `/proc` cannot be read.
    fn holders(&self, of: Held) -> Result<Vec<Holder>, KernelError>;

    /// Returns the holders of all programs and links, with a single search as in [`KernelFacts::holders`]. Fails if
    /// `/proc` cannot be read.
    fn all_holders(&self) -> Result<ObjectHolders, KernelError>;

    /// Returns the running containers among `wanted`, by cgroup names that root assigned, in no order. Reads some
    /// thousand folders on a full node, which takes some milliseconds; containers that end meanwhile are left out.
    /// Fails if `/proc` cannot be read.
    fn containers(&self, wanted: &WantedContainers) -> Result<FoundContainers, KernelError>;

    /// Returns the tasks of a process's container, in a form that a program can test for.
    ///
    /// They are identified by their cgroup, if containers have cgroups of version 2 and this process sees the whole
    /// hierarchy, else by their pid namespace. Errors: [`KernelError::NoTaskGroup`] if the process is gone, or is in no
    /// container.
    fn tasks_of_container(&self, pid: u32) -> Result<ContainerTasks, KernelError>;

    /// Returns the tasks of a cgroup (version 2) by path. Errors: [`KernelError::NoTaskGroup`] if it does not exist, or
    /// is the root.
    fn tasks_of_group(&self, path: &str) -> Result<TaskGroup, KernelError>;

    /// Returns the real, effective and saved user ids of the processes in a cgroup and in those below it. Errors:
    /// [`KernelError::NoTaskGroup`] if another cgroup has the path, or it has too many processes to look at.
    fn users_of_group(&self, path: &str, tasks: &TaskGroup) -> Result<BTreeSet<u32>, KernelError>;

    /// Returns when a process began that is one of these tasks, in ticks of 10 ms since boot; none for another's, or one that is
    /// gone. A later user of the number compares the start: it may be another process' number by then.
    fn task_began(&self, tasks: &TaskGroup, pid: u32) -> Option<u64>;

    /// Returns the names of loaded kernel modules.
    fn loaded_modules(&self) -> BTreeSet<String>;

    /// Returns the inode of a loaded module's folder in sysfs, which changes with each load; `None` if the module is
    /// not loaded.
    fn module_inode(&self, name: &str) -> Option<u64>;

    /// Returns the start time of a process, in ticks of 10 ms since boot; `None` if it is gone.
    fn process_began(&self, pid: u32) -> Option<u64>;

    /// Returns the index of the first path that user and group permissions hide from this caller. For all others, the
    /// caller can see whether they exist, and with `read` may read them. Fails if the kernel does not report it.
    fn first_hidden(
        &self,
        caller: &FileReader,
        paths: &[PathBuf],
        read: bool,
    ) -> Result<Option<usize>, KernelError>;

    /// Returns the online CPUs, ascending. Fails if the kernel does not report them.
    fn online_cpus(&self) -> Result<Vec<u32>, KernelError>;
}
