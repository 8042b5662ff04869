//! What the kernel tells of itself, of counts, and of processes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bpfmand_core::{
    ContainerTasks, FileReader, FoundContainers, Held, Holder, MachineTime, RunCounts, TaskGroup,
    WantedContainers,
};

use crate::{Features, Inventory, KernelError, KernelObjects, ObjectHolders, PrintFeed, RunClock};

/// What the kernel tells of itself, of counts, and of processes.
pub trait KernelFacts: KernelObjects {
    /// What this kernel can do.
    fn features(&self) -> &Features;

    /// Tries what programs can be made of, which takes about a tenth of a second.
    fn inventory(&self) -> Inventory;

    /// What the kernel's settings say that decide about programs, in words, by name. Those that cannot be read are left out.
    fn settings(&self) -> Vec<(&'static str, String)>;

    /// Names this boot: what was recorded under another name is of a boot that has ended.
    ///
    /// # Errors
    /// The kernel does not tell.
    fn boot(&self) -> Result<String, KernelError>;

    /// What time it is, in that boot.
    ///
    /// # Errors
    /// The kernel does not name its boot.
    fn now(&self) -> Result<MachineTime, KernelError>;

    /// The kernel's own BTF, raw.
    ///
    /// # Errors
    /// The kernel has none, or it cannot be read.
    fn btf(&self) -> Result<Vec<u8>, KernelError>;

    /// The BTF of each loaded module, raw and split: it goes on where [`KernelFacts::btf`] ends. Names ascend. Modules without are
    /// left out.
    ///
    /// # Errors
    /// It cannot be read.
    fn module_btfs(&self) -> Result<Vec<(String, Vec<u8>)>, KernelError>;

    /// Addresses of symbols of the kernel and of its modules; several where several have the name. Zero stands for those that
    /// this process may not know. Looks through all symbols, which takes some 50 ms.
    ///
    /// # Errors
    /// The kernel does not list them.
    fn symbol_addresses(
        &self,
        names: &BTreeSet<&str>,
    ) -> Result<BTreeMap<String, BTreeSet<u64>>, KernelError>;

    /// What the kernel was built with: the text of its `.config`.
    ///
    /// # Errors
    /// Neither the kernel nor its distribution has it where it can be read.
    fn build_config(&self) -> Result<String, KernelError>;

    /// Has the runs of all programs of the machine counted until what it answers is dropped, or this process ends.
    ///
    /// # Errors
    /// The kernel cannot (before Linux 5.8), or refuses.
    fn count_runs(&self) -> Result<Box<dyn RunClock>, KernelError>;

    /// Follows what programs print by `bpf_printk`, with a buffer of its own that is gone with the answer.
    ///
    /// # Errors
    /// The kernel cannot (before Linux 5.9), or nobody may make buffers there.
    fn follow_prints(&self) -> Result<Box<dyn PrintFeed>, KernelError>;

    /// What was counted of a program since it was loaded, while anyone had it counted.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    fn run_counts(&self, program: &Self::Handle) -> Result<RunCounts, KernelError>;

    /// Processes with an open descriptor of an object, this one included, by pid. Looks through `/proc`, which takes
    /// some milliseconds a hundred processes; processes that end meanwhile are left out, and so is what one could see
    /// only after a million descriptors.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    fn holders(&self, of: Held) -> Result<Vec<Holder>, KernelError>;

    /// The holders of all programs and links, with one look as for [`KernelFacts::holders`].
    ///
    /// # Errors
    /// `/proc` cannot be read.
    fn all_holders(&self) -> Result<ObjectHolders, KernelError>;

    /// Containers that have processes now, by the names that root gave their cgroups: all of them with one look, in no
    /// order. Looks at some thousand folders on a full node, which takes some milliseconds; containers that end
    /// meanwhile are left out.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    fn containers(&self, wanted: &WantedContainers) -> Result<FoundContainers, KernelError>;

    /// The tasks of the container that a process is in, in words by which a program tells them from all others.
    ///
    /// By its control group, where containers have groups of version 2 and this process sees the whole hierarchy, else by its
    /// process namespace.
    ///
    /// # Errors
    /// [`KernelError::NoTaskGroup`] if the process is gone, or is in no container.
    fn tasks_of_container(&self, pid: u32) -> Result<ContainerTasks, KernelError>;

    /// The tasks of a control group of version 2, by its path.
    ///
    /// # Errors
    /// [`KernelError::NoTaskGroup`] if there is none, or if it is the root.
    fn tasks_of_group(&self, path: &str) -> Result<TaskGroup, KernelError>;

    /// Returns the real, effective and saved user ids of the processes in a cgroup and in those below it.
    ///
    /// # Errors
    /// [`KernelError::NoTaskGroup`] if another cgroup has the path, or it has too many processes to look at.
    fn users_of_group(&self, path: &str, tasks: &TaskGroup) -> Result<BTreeSet<u32>, KernelError>;

    /// Returns when a process began that is one of these tasks, in ticks of 10 ms since boot; none for another's, or one that is
    /// gone. Whoever uses the number later compares the beginning: it may be another process' number by then.
    fn task_began(&self, tasks: &TaskGroup, pid: u32) -> Option<u64>;

    /// Names of the kernel modules that are loaded.
    fn loaded_modules(&self) -> BTreeSet<String>;

    /// Inode of the folder of a loaded kernel module in sysfs, which is another one after each load; none if the module is not
    /// loaded.
    fn module_inode(&self, name: &str) -> Option<u64>;

    /// When a process began, in ticks of 10 ms since boot; none if it is gone.
    fn process_began(&self, pid: u32) -> Option<u64>;

    /// The place of the first of these paths of which something is kept from this caller by user and groups. Of the others
    /// the caller sees what is there, or that nothing is, and with `read` may read it.
    ///
    /// # Errors
    /// The kernel does not tell.
    fn first_hidden(
        &self,
        caller: &FileReader,
        paths: &[PathBuf],
        read: bool,
    ) -> Result<Option<usize>, KernelError>;

    /// CPUs that run now, ascending.
    ///
    /// # Errors
    /// The kernel does not tell.
    fn online_cpus(&self) -> Result<Vec<u32>, KernelError>;
}
