//! The test in front of a tenant's program: the program runs only for the tenant's tasks.
//!
//! A program is attached for several tenants, so the tasks are not in the code: each link's cookie is an index into a
//! table that only the daemon writes. Unused entries match no task. The first entry, of no link, has two shared values:
//! if only one entry is in use, its index, which saves the helper for the cookie; if all entries are of one user, the
//! user, which saves the helper for tasks of other users. Each helper takes longer than all loads.
//!
//! ```text
//! r6 = context
//! of one user:           uid, euid and suid are the user, and the memory is not protected from it, or out; tested with
//!                        the first entry if that has a user, else with the link's
//! index = first.only, or the cookie; index < entries, or out
//! of one user:           the task's own cgroup is entry.id, or it is not deeper, and out
//! by cgroup:             bpf_get_current_ancestor_cgroup_id(entry.level) == entry.id, or out
//! by process namespace:  inode and beginning of its first process are the entry's, or out
//! r1 = r6; the program, but where perf events run it, each exit returns 1
//! out: return 1 where perf events run the program, else 0
//! ```
//!
//! Both results are neutral: where perf events run the program, 0 would drop samples of other users of the event;
//! fentry and fexit must return 0; for LSM, 0 allows.

use bpfman_model::{FuncInfo, Insn, LineInfo, MapSpec, ProgramText, TaskGroup, map_type, op};

use super::exits::with_end;
use crate::text::asm::{Asm, Label};
use crate::text::opcode::{
    ADD64_REG, AND64_IMM, JEQ64, JEQ64_REG, JGE64, JGE64_REG, JNE64, JNE64_REG, LOAD_DW, LOAD_W, LSH64_IMM,
    MOV64_IMM, MOV64_REG, SUB64_REG,
};

/// Entries of a table, one per link; the first matches no task.
pub const GUARD_ENTRIES: u32 = 1024;
/// Bytes: type of the test (4), level or inode (4), id or start time (8), user (4), presence (4).
const ENTRY: usize = 32;
const ENTRY_SHIFT: i32 = 5;
const AT_FIRST: i16 = 4;
const AT_SECOND: i16 = 8;
const AT_USER: i16 = 16;
const AT_HAS_USER: i16 = 20;

const BY_GROUP: u32 = 1;
const BY_NAMESPACE: u32 = 2;

/// `MMF_DUMPABLE_MASK`, and `SUID_DUMP_USER`, which processes that changed their user lack.
const DUMPABLE: i32 = 3;
const DUMPABLE_BY_USER: u32 = 1;

/// Nanoseconds of a tick (`USER_HZ`), the unit of reported start times.
const TICK: i32 = 10_000_000;

/// Programs cannot write the map (`BPF_F_RDONLY_PROG`).
const RDONLY_PROG: u32 = 1 << 7;

const HELPER_ANCESTOR_CGROUP_ID: i32 = 123;
const HELPER_CURRENT_TASK_BTF: i32 = 158;
const HELPER_ATTACH_COOKIE: i32 = 174;

/// Offsets, in bytes, of the kernel fields that the test by process namespace compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskOffsets {
    /// `task_struct.nsproxy`.
    pub nsproxy: i16,
    /// `nsproxy.pid_ns_for_children`, the task's own until it requests another one.
    pub pid_ns: i16,
    /// `pid_namespace.ns.inum`.
    pub inode: i16,
    /// `pid_namespace.child_reaper`.
    pub first: i16,
    /// `task_struct.start_boottime`.
    pub began: i16,
}

/// Offsets, in bytes, of a task's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialOffsets {
    /// `task_struct.real_cred`: `cred` may be another one while the kernel acts for others, as overlayfs does.
    pub cred: i16,
    /// `cred.uid`, `cred.euid` and `cred.suid`.
    pub users: [i16; 3],
    /// Place of the protection of a process from its user.
    pub protection: Protection,
}

/// Place of the protection; a task without the structure is ending, and has no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Linux before 7.2.
    OfMemory {
        /// `task_struct.mm`.
        mm: i16,
        /// `mm_struct.flags`.
        flags: i16,
    },
    /// Linux 7.2 and later.
    OfProgram {
        /// `task_struct.exec_state`.
        exec_state: i16,
        /// `task_exec_state.dumpable`.
        dumpable: i16,
    },
}

/// Offsets, in bytes, on the way from a task to the id of its cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupOffsets {
    /// `task_struct.cgroups`, `css_set.dfl_cgrp`, `cgroup.kn` and `kernfs_node.id`.
    pub way: [i16; 4],
    /// `cgroup.level`: a cgroup at the entry's level or above cannot be below the entry's cgroup.
    pub level: i16,
}

/// Tasks for which a link lets its program run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardedTasks {
    pub group: TaskGroup,
    /// User whose rights the tasks must have, without rights of other users; none for any user.
    pub user: Option<u32>,
}

/// Guard test of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardTest {
    /// Index of the table among the program's maps.
    pub table: usize,
    /// Offsets for the test by process namespace; needs the kernel's types and a licence to read them.
    pub namespaces: Option<TaskOffsets>,
    /// Offsets for the test of a task's credentials, with the same requirements.
    pub credentials: Option<CredentialOffsets>,
    /// Offsets for the short test of a user's cgroup; none where the kernel may free a set of cgroups meanwhile.
    pub groups: Option<GroupOffsets>,
    /// Result of the program for tasks that do not match.
    pub neutral: i32,
    /// Set to return the neutral result always: another one would drop samples of the perf event's other users.
    pub only_neutral: bool,
}

/// A guarded program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// The program with the test in front.
    pub text: ProgramText,
    /// Number of instructions of the test.
    pub len: usize,
}

/// Returns the table of one guarded program.
#[must_use]
pub fn guard_table() -> MapSpec {
    let size = ENTRY as u32 * GUARD_ENTRIES;
    MapSpec { flags: RDONLY_PROG, ..MapSpec::sized("bpfman_guard", map_type::ARRAY, 4, size, 1) }
}

/// Returns the value of a map entry for these tasks.
#[must_use]
pub fn guard_entry(tasks: &GuardedTasks) -> [u8; ENTRY] {
    let (how, first, second) = match tasks.group {
        TaskGroup::ControlGroup { level, id } => (BY_GROUP, level, id),
        TaskGroup::PidNamespace { inode, began } => (BY_NAMESPACE, inode, began.saturating_mul(TICK as u64)),
    };
    let mut entry = [0; ENTRY];
    entry[..4].copy_from_slice(&how.to_ne_bytes());
    entry[4..8].copy_from_slice(&first.to_ne_bytes());
    entry[8..16].copy_from_slice(&second.to_ne_bytes());
    if let Some(user) = tasks.user {
        entry[16..20].copy_from_slice(&user.to_ne_bytes());
        entry[20..24].copy_from_slice(&1_u32.to_ne_bytes());
    }
    entry
}

/// Sets an entry, if it can hold these tasks: those of an earlier version have half the size, without a user.
#[must_use]
pub fn set_guard_entry(table: &mut [u8], index: u32, tasks: &GuardedTasks) -> bool {
    let size = table.len() / GUARD_ENTRIES as usize;
    let bytes = guard_entry(tasks);
    let at = index as usize * size;
    let is_whole = size == ENTRY || (size == AT_USER as usize && tasks.user.is_none());
    match table.get_mut(at..at + size) {
        Some(entry) if index != 0 && is_whole => {
            entry.copy_from_slice(&bytes[..size]);
            if size == ENTRY {
                set_shared(table);
            }
            true
        }
        _ => false,
    }
}

/// Writes the first entry, from what the others share. Entries stay after their links end, so a running link has one.
fn set_shared(table: &mut [u8]) {
    let (first, entries) = table.split_at_mut(ENTRY);
    let filled = || (1_u32..).zip(entries.chunks_exact(ENTRY)).filter(|(_, entry)| entry[..4] != [0; 4]);
    let user_of = |entry: &[u8]| <[u8; 8]>::try_from(&entry[AT_USER as usize..][..8]).unwrap_or_default();
    let mut users = filled().map(|(_, entry)| user_of(entry));
    let shared = users.next().filter(|user| users.all(|other| other == *user));
    let mut all = filled().map(|(index, _)| index);
    let only = all.next().filter(|_| all.next().is_none());
    first.fill(0);
    first[AT_FIRST as usize..][..4].copy_from_slice(&only.unwrap_or_default().to_ne_bytes());
    first[AT_USER as usize..][..8].copy_from_slice(&shared.unwrap_or_default());
}

/// Returns the program with the test in front; positions in its records move. `None` if an exit is out of reach.
#[must_use]
pub fn guarded(text: &ProgramText, test: &GuardTest) -> Option<Guarded> {
    if test.only_neutral {
        let end = [Insn::new(MOV64_IMM, 0, 0, 0, test.neutral), Insn::new(op::EXIT, 0, 0, 0, 0)];
        return with_end(text, &end, front(test)).ok();
    }
    Some(put_in_front(text, front(test)))
}

pub(crate) fn put_in_front(text: &ProgramText, front: Vec<Insn>) -> Guarded {
    let len = front.len();
    let mut text = text.clone();
    text.insns.splice(0..0, front);
    for (place, function) in text.functions.iter_mut().enumerate() {
        match place {
            0 => function.len += len,
            _ => function.start += len,
        }
    }
    // All of these are below a million, before and after the addition.
    let by = len as u32;
    let func = |info: &FuncInfo| FuncInfo {
        insn_off: if info.insn_off == 0 { 0 } else { info.insn_off + by },
        ..*info
    };
    text.func_info = text.func_info.iter().map(func).collect();
    // The kernel wants a line for the first instruction: the line where the program begins.
    let first = text.line_info.first().filter(|line| line.insn_off == 0).copied();
    let moved = text.line_info.iter().map(|line| LineInfo { insn_off: line.insn_off + by, ..*line });
    text.line_info = first.into_iter().chain(moved).collect();
    for table in &mut text.jump_tables {
        table.loads.iter_mut().for_each(|load| *load += len);
        table.entries.iter_mut().for_each(|entry| *entry += by);
    }
    Guarded { text, len }
}

/// Context, entry and task must survive calls.
const CONTEXT: u8 = 6;
const AT_ENTRY: u8 = 7;
const TASK: u8 = 8;

const fn load(code: u8, to: u8, from: u8, at: i16) -> Insn {
    Insn::new(code, to, from, at, 0)
}

fn front(test: &GuardTest) -> Vec<Insn> {
    let mut asm = Asm::default();
    let (passed, out) = (asm.label(), asm.label());
    let (by_namespace, of_anybody) = (asm.label(), asm.label());
    asm.push(Insn::new(MOV64_REG, CONTEXT, 1, 0, 0));
    asm.push(Insn::new(op::LD_IMM64, AT_ENTRY, op::PSEUDO_MAP_VALUE, 0, test.table as i32));
    asm.push(Insn::default());
    if let Some(offsets) = &test.credentials {
        let (of_several, by_group) = (asm.label(), asm.label());
        asm.helper(HELPER_CURRENT_TASK_BTF);
        asm.push(Insn::new(MOV64_REG, TASK, 0, 0, 0));
        asm.push(load(LOAD_W, 1, AT_ENTRY, AT_HAS_USER));
        asm.branch_on(1, JEQ64, 0, of_several);
        of_one_user(&mut asm, offsets, out);
        at_entry(&mut asm, out);
        asm.jump(by_group);
        asm.bind(of_several);
        at_entry(&mut asm, out);
        asm.push(load(LOAD_W, 1, AT_ENTRY, AT_HAS_USER));
        asm.branch_on(1, JEQ64, 0, of_anybody);
        of_one_user(&mut asm, offsets, out);
        asm.bind(by_group);
        if let Some(groups) = &test.groups {
            in_own_group(&mut asm, groups, passed, out);
        }
    } else {
        at_entry(&mut asm, out);
        asm.push(load(LOAD_W, 1, AT_ENTRY, AT_HAS_USER));
        asm.branch_on(1, JNE64, 0, out);
    }
    asm.bind(of_anybody);
    asm.push(load(LOAD_W, 2, AT_ENTRY, 0));
    asm.push(load(LOAD_W, 1, AT_ENTRY, AT_FIRST));
    asm.branch_on(2, JNE64, BY_GROUP, if test.namespaces.is_some() { by_namespace } else { out });
    asm.helper(HELPER_ANCESTOR_CGROUP_ID);
    asm.push(load(LOAD_DW, 1, AT_ENTRY, AT_SECOND));
    asm.branch_registers(JEQ64_REG, 0, 1, passed);
    asm.bind(out);
    asm.push(Insn::new(MOV64_IMM, 0, 0, 0, test.neutral));
    asm.exit();
    asm.bind(by_namespace);
    if let Some(offsets) = &test.namespaces {
        asm.branch_on(2, JNE64, BY_NAMESPACE, out);
        if test.credentials.is_none() {
            asm.helper(HELPER_CURRENT_TASK_BTF);
            asm.push(Insn::new(MOV64_REG, TASK, 0, 0, 0));
        }
        asm.push(load(LOAD_DW, 1, TASK, offsets.nsproxy));
        // A task that is ending has none.
        asm.branch_on(1, JEQ64, 0, out);
        asm.push(load(LOAD_DW, 1, 1, offsets.pid_ns));
        asm.branch_on(1, JEQ64, 0, out);
        asm.push(load(LOAD_W, 2, 1, offsets.inode));
        asm.push(load(LOAD_W, 3, AT_ENTRY, AT_FIRST));
        asm.branch_registers(JNE64_REG, 2, 3, out);
        asm.push(load(LOAD_DW, 1, 1, offsets.first));
        asm.branch_on(1, JEQ64, 0, out);
        asm.push(load(LOAD_DW, 2, 1, offsets.began));
        asm.push(load(LOAD_DW, 3, AT_ENTRY, AT_SECOND));
        // Within the tick: earlier start times give very large numbers.
        asm.push(Insn::new(SUB64_REG, 2, 3, 0, 0));
        asm.branch_on(2, JGE64, TICK as u32, out);
    }
    asm.bind(passed);
    asm.push(Insn::new(MOV64_REG, 1, CONTEXT, 0, 0));
    // The test has about ninety instructions, so jumps are in reach; otherwise the program runs for no task.
    asm.finish(false).unwrap_or_else(|_| {
        vec![Insn::new(MOV64_IMM, 0, 0, 0, test.neutral), Insn::new(op::EXIT, 0, 0, 0, 0)]
    })
}

/// Emits the lookup of the link's entry. Before, the registers refer to the first entry.
fn at_entry(asm: &mut Asm, out: Label) {
    let has_index = asm.label();
    asm.push(load(LOAD_W, 0, AT_ENTRY, AT_FIRST));
    asm.branch(JNE64, 0, has_index);
    asm.push(Insn::new(MOV64_REG, 1, CONTEXT, 0, 0));
    asm.helper(HELPER_ATTACH_COOKIE);
    asm.bind(has_index);
    asm.branch(JGE64, GUARD_ENTRIES, out);
    asm.push(Insn::new(LSH64_IMM, 0, 0, 0, ENTRY_SHIFT));
    asm.push(Insn::new(ADD64_REG, AT_ENTRY, 0, 0, 0));
}

/// Emits jumps to `out` for tasks of other users than the entry's.
fn of_one_user(asm: &mut Asm, offsets: &CredentialOffsets, out: Label) {
    let without_memory = asm.label();
    asm.push(load(LOAD_W, 2, AT_ENTRY, AT_USER));
    asm.push(load(LOAD_DW, 1, TASK, offsets.cred));
    asm.branch_on(1, JEQ64, 0, out);
    for user in offsets.users {
        asm.push(load(LOAD_W, 3, 1, user));
        asm.branch_registers(JNE64_REG, 2, 3, out);
    }
    let (structure, code, flags) = match offsets.protection {
        Protection::OfMemory { mm, flags } => (mm, LOAD_DW, flags),
        Protection::OfProgram { exec_state, dumpable } => (exec_state, LOAD_W, dumpable),
    };
    asm.push(load(LOAD_DW, 1, TASK, structure));
    asm.branch_on(1, JEQ64, 0, without_memory);
    asm.push(load(code, 1, 1, flags));
    asm.push(Insn::new(AND64_IMM, 1, 0, 0, DUMPABLE));
    asm.branch_on(1, JNE64, DUMPABLE_BY_USER, out);
    asm.bind(without_memory);
}

/// Emits jumps to `passed` for tasks in exactly the entry's cgroup, and to `out` for others that are not deeper.
fn in_own_group(asm: &mut Asm, groups: &GroupOffsets, passed: Label, out: Label) {
    let GroupOffsets { way: [set, group, node, id], level } = *groups;
    let further = asm.label();
    asm.push(load(LOAD_W, 2, AT_ENTRY, 0));
    asm.branch_on(2, JNE64, BY_GROUP, further);
    asm.push(load(LOAD_DW, 1, TASK, set));
    asm.branch_on(1, JEQ64, 0, further);
    asm.push(load(LOAD_DW, 1, 1, group));
    asm.branch_on(1, JEQ64, 0, further);
    asm.push(load(LOAD_W, 3, 1, level));
    asm.push(load(LOAD_DW, 1, 1, node));
    asm.branch_on(1, JEQ64, 0, further);
    asm.push(load(LOAD_DW, 1, 1, id));
    asm.push(load(LOAD_DW, 2, AT_ENTRY, AT_SECOND));
    asm.branch_registers(JEQ64_REG, 1, 2, passed);
    asm.push(load(LOAD_W, 2, AT_ENTRY, AT_FIRST));
    asm.branch_registers(JGE64_REG, 2, 3, out);
    asm.bind(further);
}
