use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bpfman_model::{
    FileIdentity, FunctionHints, FunctionPattern, ModuleIdentity, ProcessIdentity, TargetIdentity,
    processes_of,
};

use super::errno::{self, ENOENT};
use super::{SimKernel, SimState};
use crate::{Features, KernelError, LinkTarget, ProbeTargetError};

const FIRST_FILE: u64 = 1;

/// Differences from a machine on which every file, process and function exists.
#[derive(Debug, Default)]
pub(super) struct SimTargets {
    files: BTreeMap<String, SimFile>,
    hidden: BTreeSet<String>,
    remote: BTreeSet<String>,
    hanging: BTreeSet<String>,
    /// Start by pid; `None` if the process has ended.
    processes: BTreeMap<u32, Option<u64>>,
    groups: BTreeMap<u32, String>,
    users: BTreeMap<u32, u32>,
    modules: BTreeMap<String, Option<u64>>,
    functions: BTreeMap<String, String>,
    kernel: (String, (u32, u32)),
    /// Changes so far: new files, writes, processes and modules get distinct numbers.
    made: u64,
}

#[derive(Clone, Copy, Debug)]
struct SimFile {
    inode: u64,
    modified: i64,
    is_there: bool,
    has_functions: bool,
}

impl Default for SimFile {
    fn default() -> Self {
        Self { inode: FIRST_FILE, modified: 0, is_there: true, has_functions: true }
    }
}

impl SimTargets {
    pub(super) fn of(features: &Features) -> Self {
        Self { kernel: (features.release.clone(), features.version), ..Self::default() }
    }

    pub(super) fn reboot(&mut self) {
        self.processes.clear();
        self.groups.clear();
        self.users.clear();
        self.modules.values_mut().for_each(|inode| *inode = None);
    }

    fn file(&self, target: &str) -> SimFile {
        self.files.get(target).copied().unwrap_or_default()
    }

    pub(super) fn suffix(&self, target: &str) -> String {
        match self.file(target) {
            SimFile { inode: FIRST_FILE, modified: 0, .. } => String::new(),
            SimFile { inode, modified, .. } => format!(" (file {inode}, written {modified})"),
        }
    }

    pub(super) fn first_hidden(&self, paths: &[PathBuf]) -> Option<usize> {
        paths.iter().position(|path| path.to_str().is_some_and(|path| self.hidden.contains(path)))
    }

    pub(super) fn group_of(&self, pid: u32) -> Option<String> {
        self.groups.get(&pid).cloned()
    }

    pub(super) fn users_of(&self, path: &str) -> BTreeSet<u32> {
        let is_below = |group: &str| {
            group.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let inside = self.groups.iter().filter(|(_, group)| is_below(group));
        inside.map(|(pid, _)| self.users.get(pid).copied().unwrap_or(0)).collect()
    }

    pub(super) fn loaded_modules(&self) -> BTreeSet<String> {
        let loaded = self.modules.iter().filter(|(_, inode)| inode.is_some());
        loaded.map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn module_inode(&self, name: &str) -> Option<u64> {
        *self.modules.get(name)?
    }
}

impl SimState {
    pub(super) fn binary_identity(&self, target: &str) -> Result<FileIdentity, KernelError> {
        let SimFile { inode, modified, is_there, .. } = self.targets.file(target);
        if is_there {
            return Ok(FileIdentity { device: 1, inode, size: 1, modified });
        }
        let source = errno::error(ENOENT);
        let reason = ProbeTargetError::File { path: target.to_owned(), source };
        Err(KernelError::CannotProbe { target: format!("\"{target}\""), reason })
    }

    pub(super) fn is_local(&self, target: &str) -> bool {
        !self.targets.remote.contains(target)
    }

    pub(super) fn process_began(&self, pid: u32) -> Option<u64> {
        match self.targets.processes.get(&pid) {
            Some(began) => *began,
            // Every process id exists; after a reboot it denotes another process.
            None => (pid != 0).then_some(self.objects.generation),
        }
    }

    /// Before Linux 6.2, links to many functions accept only functions of the kernel itself.
    pub(super) fn refuse_functions_of_modules(&self, of: &[FunctionPattern]) -> Result<(), KernelError> {
        let (release, version) = &self.targets.kernel;
        let names = of.iter().filter_map(FunctionPattern::name);
        let mut found = names.filter_map(|name| Some((name, self.targets.functions.get(name)?)));
        let Some((name, module)) = found.next().filter(|_| *version < (6, 2)) else { return Ok(()) };
        let reason = ProbeTargetError::OfModule { module: module.clone(), release: release.clone() };
        Err(KernelError::CannotProbe { target: format!("kernel functions {name}"), reason })
    }

    pub(super) fn identities(&self, target: &LinkTarget<'_>) -> Result<Vec<TargetIdentity>, KernelError> {
        let fail = |target: String, reason| Err(KernelError::CannotProbe { target, reason });
        let (binary, pids) = match (target.binary(), target) {
            (Some((binary, scope)), _) => (Some(binary), processes_of(binary, scope)),
            (None, LinkTarget::PerfEvent { place }) => (None, place.pid.into_iter().collect()),
            (None, LinkTarget::Kprobe { function, .. }) => {
                let Some(module) = self.targets.functions.get(*function) else { return Ok(Vec::new()) };
                let Some(inode) = self.targets.module_inode(module) else {
                    let reason = ProbeTargetError::NoKernelFunction { hints: FunctionHints::default() };
                    return fail(format!("kernel function \"{function}\""), reason);
                };
                let identity = ModuleIdentity { name: module.clone(), inode };
                return Ok(vec![TargetIdentity::Module(identity)]);
            }
            (None, LinkTarget::Cgroup { path, .. }) => {
                return Ok(vec![TargetIdentity::Group { id: self.network.group_id(path) }]);
            }
            (None, _) => return Ok(Vec::new()),
        };
        let mut found = Vec::new();
        if let Some(binary) = binary {
            found.push(TargetIdentity::File(self.binary_identity(binary)?));
            if !self.targets.file(binary).has_functions {
                let reason = ProbeTargetError::NoFunction { path: binary.into(), function: "any".to_owned() };
                return fail(format!("\"{binary}\""), reason);
            }
        }
        for pid in pids {
            let Some(began) = self.process_began(pid) else {
                return fail(format!("{target:?}"), ProbeTargetError::NoProcess(pid));
            };
            found.push(TargetIdentity::Process(ProcessIdentity { pid, began }));
        }
        Ok(found)
    }
}

impl SimKernel {
    fn change_file(&self, path: &str, change: impl FnOnce(&mut SimFile, u64)) {
        let mut state = self.state();
        state.targets.made += 1;
        let made = state.targets.made;
        change(state.targets.files.entry(path.to_owned()).or_default(), made);
    }

    /// Puts another file at a path, as a rename does.
    pub fn replace_file(&self, path: &str) {
        self.change_file(path, |file, made| {
            *file = SimFile { inode: FIRST_FILE + made, ..SimFile::default() };
        });
    }

    /// Writes the file at a path, which stays the same one.
    pub fn write_file(&self, path: &str) {
        self.change_file(path, |file, made| file.modified = made.cast_signed());
    }

    /// Puts a file without any probed function at a path.
    pub fn replace_file_without_functions(&self, path: &str) {
        self.change_file(path, |file, made| {
            *file = SimFile { inode: FIRST_FILE + made, has_functions: false, ..SimFile::default() };
        });
    }

    /// Removes the file at a path. Probes in it stay.
    pub fn remove_file(&self, path: &str) {
        self.change_file(path, |file, _| file.is_there = false);
    }

    /// Allows only root to read the file at a path from now on.
    pub fn hide_file(&self, path: &str) {
        self.state().targets.hidden.insert(path.to_owned());
    }

    /// Makes the file at a path one of another machine from now on.
    pub fn mount_from_elsewhere(&self, path: &str) {
        self.state().targets.remote.insert(path.to_owned());
    }

    /// Makes the file system of a path stop answering, until [`SimKernel::answer_file`].
    pub fn hang_file(&self, path: &str) {
        self.state().targets.hanging.insert(path.to_owned());
    }

    /// Makes the file system of a path answer again.
    pub fn answer_file(&self, path: &str) {
        self.state().targets.hanging.remove(path);
        self.changed.notify_all();
    }

    /// Ends a process. Its pid stays free.
    pub fn end_process(&self, pid: u32) {
        let mut state = self.state();
        state.targets.processes.insert(pid, None);
        state.targets.groups.remove(&pid);
        state.targets.users.remove(&pid);
    }

    /// Puts a process into a cgroup.
    pub fn move_process(&self, pid: u32, group: &str) {
        self.state().targets.groups.insert(pid, group.to_owned());
    }

    /// Makes a user other than root that of a process.
    pub fn give_process(&self, pid: u32, user: u32) {
        self.state().targets.users.insert(pid, user);
    }

    /// Begins a process with this pid, distinct from earlier ones with the pid.
    pub fn begin_process(&self, pid: u32) {
        let mut state = self.state();
        state.targets.groups.remove(&pid);
        state.targets.users.remove(&pid);
        state.targets.made += 1;
        let began = 1_000_000 + state.targets.made;
        state.targets.processes.insert(pid, Some(began));
    }

    /// Loads a module with these functions. A module of this name must not be loaded.
    pub fn load_module(&self, name: &str, functions: &[&str]) {
        let mut state = self.state();
        state.targets.made += 1;
        let inode = state.targets.made;
        state.targets.modules.insert(name.to_owned(), Some(inode));
        for function in functions {
            state.targets.functions.insert((*function).to_owned(), name.to_owned());
        }
    }

    /// Removes a module. Probes of its functions stay, and never run again.
    pub fn unload_module(&self, name: &str) {
        self.state().targets.modules.insert(name.to_owned(), None);
    }

    pub(super) fn wait_for_file(&self, path: &str) {
        let mut state = self.state();
        while state.targets.hanging.contains(path) {
            state = self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
#[test]
fn users_of_a_cgroup_are_those_of_the_processes_in_it_and_below() {
    use crate::prelude::*;
    let kernel = SimKernel::default();
    let group = "/system.slice/team.service";
    let tasks = kernel.tasks_of_group(group).unwrap();
    assert_eq!(kernel.users_of_group(group, &tasks).unwrap(), BTreeSet::new());
    for (pid, user, path) in
        [(7, 1000, group.to_owned()), (8, 1001, format!("{group}/below")), (9, 1002, format!("{group}s"))]
    {
        kernel.move_process(pid, &path);
        kernel.give_process(pid, user);
    }
    kernel.move_process(10, group);
    assert_eq!(kernel.users_of_group(group, &tasks).unwrap(), [0, 1000, 1001].into());
    kernel.end_process(8);
    assert_eq!(kernel.users_of_group(group, &tasks).unwrap(), [0, 1000].into());
    let other = kernel.tasks_of_group("/other").unwrap();
    assert!(kernel.users_of_group(group, &other).is_err());
}
