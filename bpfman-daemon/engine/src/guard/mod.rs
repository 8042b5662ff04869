//! Guards: a tenant's program runs for the tenant's own tasks, and makes only calls that tenants may make. The test is
//! compiled in front of the program at load; its tasks are written for each link before the link exists.

mod link;

use bpfman_model::{ProgramText, ProgramType, TypeScope};
use bpfmand_kernel::{Kernel, Probe};
use bpfmand_object::KernelBtf;
use bpfmand_splice::{
    CredentialOffsets, GroupOffsets, GuardTest, Guarded, Protection, TaskOffsets, guarded, is_gpl_compatible,
};

pub use crate::engine::tenant_calls::{rules_of, rules_of_program};
use crate::error::GuardRefusal;
use crate::{Engine, EngineError};

/// Index of the guard's table among the maps of a program: larger than the index of any map of an object.
pub const TABLE: usize = 1 << 20;

#[must_use]
pub const fn runs_in_tasks(program_type: ProgramType) -> bool {
    matches!(program_type.scope(), TypeScope::Tasks)
}

/// Refuses types that run neither at a hook, which a grant names, nor in tasks, which a guard can distinguish.
pub fn check_type(name: &str, program_type: ProgramType) -> Result<(), EngineError> {
    check_returns(name, program_type)?;
    match program_type.scope() {
        // A writable raw tracepoint affects other tasks; a USDT probe leaves no cookie for the guard.
        _ if matches!(program_type, ProgramType::RawTracepointWritable | ProgramType::Usdt) => {
            Err(GuardRefusal::NoGuard { program: name.to_owned(), program_type }.into())
        }
        // The extended program is the tenant's and guarded at its entry, as `check_and_guard` ensures.
        TypeScope::Interface | TypeScope::Tasks | TypeScope::Program => Ok(()),
        TypeScope::Cgroup
        | TypeScope::Netns
        | TypeScope::Reader
        | TypeScope::Cpus
        | TypeScope::Sockets
        | TypeScope::Opener
        | TypeScope::Kernel => Err(GuardRefusal::NoGuard { program: name.to_owned(), program_type }.into()),
    }
}

/// Refuses return probes of many functions: the kernel changes return addresses wherever the file is mapped.
pub fn check_returns(name: &str, program_type: ProgramType) -> Result<(), EngineError> {
    match program_type {
        ProgramType::UretprobeMulti | ProgramType::UprobeSession => {
            Err(GuardRefusal::ReturnsOfMany { program: name.to_owned(), program_type }.into())
        }
        _ => Ok(()),
    }
}

impl<K: Kernel> Engine<K> {
    pub(crate) fn with_guard(
        &self,
        text: &ProgramText,
        program_type: ProgramType,
        kernel: Option<&KernelBtf>,
    ) -> Result<(Guarded, GuardTest), EngineError> {
        let features = self.kernel.features();
        let (probe, links) = match program_type {
            ProgramType::Fentry | ProgramType::Fexit | ProgramType::FmodRet | ProgramType::Lsm => {
                (Probe::TRAMPOLINE_COOKIES, "fentry, fexit, fmod_ret and LSM")
            }
            ProgramType::RawTracepoint | ProgramType::BtfTracepoint => {
                (Probe::RAW_COOKIES, "raw trace points")
            }
            ProgramType::UprobeMulti | ProgramType::UretprobeMulti => {
                (Probe::UPROBE_MULTI, "probes of many functions")
            }
            ProgramType::KprobeMulti | ProgramType::KretprobeMulti => {
                (Probe::KPROBE_MULTI, "probes of many functions")
            }
            ProgramType::UprobeSession => (Probe::UPROBE_SESSION, "probes of many functions"),
            ProgramType::KprobeSession => (Probe::KPROBE_SESSION, "probes of many functions"),
            _ => (Probe::PERF_LINKS, "perf events"),
        };
        if !features.has(&probe) {
            let (program, release) = (text.name.clone(), features.release_without(&probe));
            let needs = probe.needs;
            return Err(GuardRefusal::NoCookies { program, program_type, release, links, needs }.into());
        }
        // The kernel lets only programs of a GPL-compatible licence read its structures.
        let types = kernel.filter(|_| is_gpl_compatible(&text.license));
        let test = GuardTest {
            table: TABLE,
            namespaces: types.and_then(task_offsets),
            credentials: types.and_then(credential_offsets),
            // A sleepable program is outside of RCU: the kernel may free what it reads there.
            groups: types.filter(|_| !text.sleepable).and_then(group_offsets),
            neutral: i32::from(runs_by_perf_events(program_type)),
            only_neutral: runs_by_perf_events(program_type),
        };
        let guarded = guarded(text, &test);
        let guarded =
            guarded.ok_or_else(|| GuardRefusal::FarExit { program: text.name.clone(), program_type })?;
        Ok((guarded, test))
    }
}

fn task_offsets(kernel: &KernelBtf) -> Option<TaskOffsets> {
    let at = |structure, member| kernel.member_offset(structure, member);
    let short = |at: u32| i16::try_from(at).ok();
    Some(TaskOffsets {
        nsproxy: short(at("task_struct", "nsproxy")?)?,
        pid_ns: short(at("nsproxy", "pid_ns_for_children")?)?,
        inode: short(at("pid_namespace", "ns")?.checked_add(at("ns_common", "inum")?)?)?,
        first: short(at("pid_namespace", "child_reaper")?)?,
        began: short(at("task_struct", "start_boottime")?)?,
    })
}

fn credential_offsets(kernel: &KernelBtf) -> Option<CredentialOffsets> {
    let at = |structure, member| i16::try_from(kernel.member_offset(structure, member)?).ok();
    Some(CredentialOffsets {
        cred: at("task_struct", "real_cred")?,
        users: [at("cred", "uid")?, at("cred", "euid")?, at("cred", "suid")?],
        // Kernels with `exec_state` still have `mm_struct.flags`, with another meaning.
        protection: match at("task_struct", "exec_state") {
            Some(exec_state) => {
                Protection::OfProgram { exec_state, dumpable: at("task_exec_state", "dumpable")? }
            }
            None => Protection::OfMemory { mm: at("task_struct", "mm")?, flags: at("mm_struct", "flags")? },
        },
    })
}

fn group_offsets(kernel: &KernelBtf) -> Option<GroupOffsets> {
    let at = |structure, member| i16::try_from(kernel.member_offset(structure, member)?).ok();
    let way = [
        at("task_struct", "cgroups")?,
        at("css_set", "dfl_cgrp")?,
        at("cgroup", "kn")?,
        at("kernfs_node", "id")?,
    ];
    Some(GroupOffsets { way, level: at("cgroup", "level")? })
}

/// True if a perf event takes no sample when the program returns 0.
const fn runs_by_perf_events(program_type: ProgramType) -> bool {
    matches!(
        program_type,
        ProgramType::Tracepoint
            | ProgramType::Kprobe
            | ProgramType::Kretprobe
            | ProgramType::Uprobe
            | ProgramType::Uretprobe
    )
}
