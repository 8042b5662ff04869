//! Tasks for which a link lets its program run.

use std::collections::BTreeSet;

use bpfman_model::{
    AttachPoint, CallerGroup, ProcessScope, ProgramType, TargetIdentity, TaskGroup, TaskScope,
};
use bpfmand_kernel::{Kernel, MapEntry, Probe};
use bpfmand_splice::{GUARD_ENTRIES, GuardedTasks, set_guard_entry};

use super::{check_returns, rules_of_program, runs_in_tasks};
use crate::error::GuardRefusal;
use crate::state::guard_record::{FoundBy, LinkGuard, ProgramGuard};
use crate::state::records::{LinkRecord, ProgramRecord};
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Returns a link's guard; `None` if its program has none. `group`: the client's cgroup. Hold the program's lock.
    pub(crate) fn guard_of_link(
        &self,
        program: &ProgramRecord,
        point: &AttachPoint,
        group: Option<&CallerGroup>,
    ) -> Result<Option<LinkGuard>, EngineError> {
        let Some(guard) = self.guard_of_program(program)? else { return Ok(None) };
        let name = || program.name.clone();
        let (tasks, user, found_by) = match guard.rules.scope {
            TaskScope::Container => {
                let (AttachPoint::Uprobe { scope, .. } | AttachPoint::UprobeMulti { scope, .. }) = point
                else {
                    return Err(GuardRefusal::NoContainer(name()).into());
                };
                let pid = scope.container_pid.ok_or_else(|| GuardRefusal::NoContainer(name()))?;
                let found = self.kernel.tasks_of_container(pid)?;
                (found.tasks, None, FoundBy::Process { pid, began: found.began })
            }
            TaskScope::Caller => {
                let group = group.ok_or_else(|| GuardRefusal::NoGroup(name()))?;
                self.ensure_of_one_user(program, guard, group)?;
                (group.tasks, group.user, FoundBy::Group { path: group.path.clone() })
            }
        };
        if matches!(tasks, TaskGroup::PidNamespace { .. }) && !guard.namespaces {
            let needs = "the kernel has to have type information (BTF), and the program a licence that is compatible \
                         with the GPL";
            return Err(GuardRefusal::NoNamespaceTest { program: name(), needs }.into());
        }
        let (returns_of, returns_began) = self.returns_of(program, point, &tasks)?.unzip();
        let index = self.free_entry(program)?;
        Ok(Some(LinkGuard { index, tasks, user, found_by, returns_of, returns_began }))
    }

    /// Refuses a cgroup with tasks of another user, and a program that cannot test credentials. Root's tasks are in
    /// many cgroups of users; the guard excludes them.
    fn ensure_of_one_user(
        &self,
        program: &ProgramRecord,
        guard: &ProgramGuard,
        group: &CallerGroup,
    ) -> Result<(), EngineError> {
        let Some(user) = group.user else { return Ok(()) };
        let name = || program.name.clone();
        if !guard.credentials {
            return Err(GuardRefusal::NoUserTest(name()).into());
        }
        let users = self.kernel.users_of_group(&group.path, &group.tasks)?;
        match users.into_iter().find(|other| ![0, user].contains(other)) {
            None => Ok(()),
            Some(other) => {
                Err(GuardRefusal::GroupOfOthers { program: name(), group: group.path.clone(), other }.into())
            }
        }
    }

    /// Returns the only process of a return probe, and its start time. A guard cannot keep the kernel from changing
    /// return addresses of other processes. A probe of one process can, if the kernel checks the process per probe.
    fn returns_of(
        &self,
        program: &ProgramRecord,
        point: &AttachPoint,
        tasks: &TaskGroup,
    ) -> Result<Option<(ProcessScope, u64)>, EngineError> {
        check_returns(&program.name, program.program_type)?;
        let (ProgramType::Uretprobe, AttachPoint::Uprobe { scope, .. }) = (program.program_type, point)
        else {
            return Ok(None);
        };
        let (program, features) = (program.name.clone(), self.kernel.features());
        // The same kernel release introduced both features.
        if !features.has(&Probe::UPROBE_SESSION) {
            let release = features.release_without(&Probe::UPROBE_SESSION);
            return Err(GuardRefusal::ReturnsOfOthers { program, release }.into());
        }
        let pid = scope.pid.or(scope.container_pid);
        let pid = pid.ok_or_else(|| GuardRefusal::NoProcess(program.clone()))?;
        let began = self.kernel.task_began(tasks, pid);
        let began = began.ok_or(GuardRefusal::OtherProcess { program, pid })?;
        Ok(Some((ProcessScope { pid: Some(pid), ..scope.clone() }, began)))
    }

    /// Refuses a link if another process has reused the PID of the tenant's process that was checked.
    pub(crate) fn check_same_processes(
        &self,
        program: &ProgramRecord,
        link: &LinkRecord,
        targets: &[TargetIdentity],
    ) -> Result<(), EngineError> {
        let Some(guard) = &link.guard else { return Ok(()) };
        for checked in guard.checked_processes() {
            let is_other = |target: &TargetIdentity| match target {
                TargetIdentity::Process(met) => met.pid == checked.pid && *met != checked,
                _ => false,
            };
            if targets.iter().any(is_other) {
                let (program, pid) = (program.name.clone(), checked.pid);
                return Err(GuardRefusal::OtherProcess { program, pid }.into());
            }
        }
        Ok(())
    }

    pub(crate) fn scope_of<'a>(
        &self,
        program: &ProgramRecord,
        link: &'a LinkRecord,
        scope: &'a ProcessScope,
    ) -> Result<&'a ProcessScope, EngineError> {
        if program.program_type != ProgramType::Uretprobe {
            return Ok(scope);
        }
        let Some(guard) = &link.guard else { return Ok(scope) };
        let of_one = guard.returns_of.as_ref();
        of_one.ok_or_else(|| {
            GuardRefusal::NotOfOneProcess { program: program.name.clone(), link: link.id }.into()
        })
    }

    fn guard_of_program<'a>(
        &self,
        program: &'a ProgramRecord,
    ) -> Result<Option<&'a ProgramGuard>, EngineError> {
        if !runs_in_tasks(program.program_type) {
            return Ok(None);
        }
        match (&program.guard, rules_of_program(program)) {
            (Some(guard), _) if guard.table.is_some() => Ok(Some(guard)),
            (_, None) => Ok(None),
            (_, Some(_)) => Err(GuardRefusal::NotGuarded(program.name.clone()).into()),
        }
    }

    fn free_entry(&self, program: &ProgramRecord) -> Result<u32, EngineError> {
        let state = self.state();
        let taken: BTreeSet<u32> =
            state.links_of(program.uid).filter_map(|link| Some(link.guard.as_ref()?.index)).collect();
        (1..GUARD_ENTRIES).find(|index| !taken.contains(index)).ok_or_else(|| {
            GuardRefusal::Full { program: program.name.clone(), most: GUARD_ENTRIES - 1 }.into()
        })
    }

    /// Writes the link's tasks into the guard's table before the link is created. Returns its cookie, or 0.
    pub(crate) fn let_in(&self, program: &ProgramRecord, link: &LinkRecord) -> Result<u64, EngineError> {
        let Some(guard) = self.guard_of_program(program)? else { return Ok(0) };
        let refuse = || GuardRefusal::NotGuarded(program.name.clone());
        let (table, wanted) = (guard.table.ok_or_else(refuse)?, link.guard.as_ref().ok_or_else(refuse)?);
        // Checks that the map is the program's: ids of a record are of the boot in which the program was loaded.
        let facts = self.kernel.program(program.id)?;
        if !facts.is_some_and(|facts| facts.map_ids.contains(&table)) {
            return Err(refuse().into());
        }
        let handle = self.kernel.open_map(table)?;
        let entries = self.kernel.map_entries(&handle, 1)?;
        let MapEntry { key, mut value } = entries.into_iter().next().ok_or_else(refuse)?;
        let tasks = GuardedTasks { group: wanted.tasks, user: wanted.user };
        if !set_guard_entry(&mut value, wanted.index, &tasks) {
            return Err(EngineError::Fault(format!("link {} has no entry in its guard's table", link.id)));
        }
        self.step("attach", "write guard");
        self.kernel.write_entry(&handle, &MapEntry { key, value })?;
        Ok(u64::from(wanted.index))
    }

    /// Returns the guard with the present tasks: identifiers change with a reboot, and PIDs may be reused.
    pub(crate) fn guarded_again(
        &self,
        program: &ProgramRecord,
        link: &LinkRecord,
    ) -> Result<Option<LinkGuard>, EngineError> {
        let other = || EngineError::EarlierProcess { link: link.id, point: link.point.to_string() };
        let Some(guard) = &link.guard else { return Ok(None) };
        match &guard.found_by {
            FoundBy::Process { pid, began } => {
                let same = link.boot == self.boot && self.kernel.process_began(*pid) == Some(*began);
                if same { Ok(Some(guard.clone())) } else { Err(other()) }
            }
            FoundBy::Group { .. } if link.boot == self.boot => Ok(Some(guard.clone())),
            FoundBy::Group { path } if guard.found_by.outlives_boot() => {
                let tasks = self.kernel.tasks_of_group(path)?;
                self.guard_of_program(program).map(|_| Some(LinkGuard { tasks, ..guard.clone() }))
            }
            FoundBy::Group { .. } => Err(other()),
        }
    }
}
