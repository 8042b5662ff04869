use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bpfman_model::{
    ContainerTasks, FileReader, FoundContainers, Held, Holder, MachineTime, RunCounts, TaskGroup,
    WantedContainers,
};

use crate::linux::{
    LinuxKernel, access, build_config, containers, cpus, features, holders, inventory, kallsyms, modules,
    prints, processes, runs, settings, tasks, types,
};
use crate::{Features, Inventory, KernelError, KernelFacts, ObjectHolders, PrintFeed, RunClock};

impl KernelFacts for LinuxKernel {
    fn features(&self) -> &Features {
        &self.features
    }

    fn inventory(&self) -> Inventory {
        inventory::take()
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        settings::read()
    }

    fn boot(&self) -> Result<String, KernelError> {
        const PATH: &str = "/proc/sys/kernel/random/boot_id";
        let text = std::fs::read_to_string(PATH).map_err(|source| KernelError::call("read", PATH, source))?;
        Ok(text.trim().to_owned())
    }

    fn now(&self) -> Result<MachineTime, KernelError> {
        let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let nanoseconds = u32::try_from(since_boot.tv_nsec).unwrap_or(0);
        let since_boot = Duration::new(since_boot.tv_sec.unsigned_abs(), nanoseconds);
        Ok(MachineTime { boot: self.boot()?, since_boot, wall: SystemTime::now() })
    }

    fn btf(&self) -> Result<Vec<u8>, KernelError> {
        const PATH: &str = "/sys/kernel/btf/vmlinux";
        std::fs::read(PATH).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => KernelError::no_btf(features::release()),
            _ => KernelError::call("read", PATH, source),
        })
    }

    fn module_btfs(&self) -> Result<Vec<(String, Vec<u8>)>, KernelError> {
        types::modules().map_err(|source| KernelError::call("read", types::FOLDER, source))
    }

    fn symbol_addresses(
        &self,
        names: &BTreeSet<&str>,
    ) -> Result<BTreeMap<String, BTreeSet<u64>>, KernelError> {
        kallsyms::addresses(names).map_err(|source| KernelError::call("read", kallsyms::PATH, source))
    }

    fn build_config(&self) -> Result<String, KernelError> {
        build_config::read(&self.features.release)
            .map_err(|source| KernelError::call("read", "what the kernel was built with", source))
    }

    fn count_runs(&self) -> Result<Box<dyn RunClock>, KernelError> {
        let clock = runs::count();
        clock.map(|clock| Box::new(clock) as Box<dyn RunClock>).map_err(|source| {
            let subject = "the runs of programs (Linux 5.8 and later can)";
            KernelError::call("count", subject, source)
        })
    }

    fn follow_prints(&self) -> Result<Box<dyn PrintFeed>, KernelError> {
        prints::PrintInstance::new().map(|feed| Box::new(feed) as Box<dyn PrintFeed>)
    }

    fn run_counts(&self, program: &OwnedFd) -> Result<RunCounts, KernelError> {
        runs::of(program).map_err(|source| KernelError::call("read", "the runs of a program", source))
    }

    fn containers(&self, wanted: &WantedContainers) -> Result<FoundContainers, KernelError> {
        containers::find(wanted)
    }

    fn tasks_of_container(&self, pid: u32) -> Result<ContainerTasks, KernelError> {
        tasks::of_container(pid)
    }

    fn tasks_of_group(&self, path: &str) -> Result<TaskGroup, KernelError> {
        tasks::of_group(path)
    }

    fn users_of_group(&self, path: &str, tasks: &TaskGroup) -> Result<BTreeSet<u32>, KernelError> {
        tasks::users_of_group(path, tasks)
    }

    fn task_began(&self, tasks: &TaskGroup, pid: u32) -> Option<u64> {
        tasks::began(tasks, pid)
    }

    fn loaded_modules(&self) -> BTreeSet<String> {
        modules::loaded()
    }

    fn module_inode(&self, name: &str) -> Option<u64> {
        modules::inode(name)
    }

    fn process_began(&self, pid: u32) -> Option<u64> {
        processes::began(&processes::root(), pid)
    }

    fn first_hidden(
        &self,
        caller: &FileReader,
        paths: &[PathBuf],
        read: bool,
    ) -> Result<Option<usize>, KernelError> {
        access::first_hidden(caller, paths, read)
    }

    fn online_cpus(&self) -> Result<Vec<u32>, KernelError> {
        cpus::online()
    }

    fn holders(&self, of: Held) -> Result<Vec<Holder>, KernelError> {
        holders::find(of).map_err(|source| KernelError::call("read", "/proc", source))
    }

    fn all_holders(&self) -> Result<ObjectHolders, KernelError> {
        holders::find_all().map_err(|source| KernelError::call("read", "/proc", source))
    }
}
