use bpfman_model::{
    BoundText, FuncInfo, FunctionSpan, Insn, JumpTable, LineInfo, ProgramText, TaskGroup, op,
};

use super::test::{
    CredentialOffsets, GUARD_ENTRIES, GroupOffsets, GuardTest, GuardedTasks, Protection, TaskOffsets,
    guard_entry, guard_table, guarded, set_guard_entry,
};

const OFFSETS: TaskOffsets = TaskOffsets { nsproxy: 8, pid_ns: 16, inode: 24, first: 32, began: 40 };

const CREDENTIALS: CredentialOffsets = CredentialOffsets {
    cred: 48,
    users: [4, 20, 12],
    protection: Protection::OfMemory { mm: 56, flags: 64 },
};
const NEWER: CredentialOffsets =
    CredentialOffsets { protection: Protection::OfProgram { exec_state: 56, dumpable: 64 }, ..CREDENTIALS };

const GROUPS: GroupOffsets = GroupOffsets { way: [72, 80, 88, 96], level: 104 };

fn test(namespaces: Option<TaskOffsets>, credentials: Option<CredentialOffsets>) -> GuardTest {
    GuardTest { table: 3, namespaces, credentials, groups: Some(GROUPS), neutral: 0, only_neutral: false }
}

fn text() -> ProgramText {
    let insns = vec![
        Insn::new(op::CALL, 0, op::PSEUDO_CALL, 0, 1),
        Insn::new(op::EXIT, 0, 0, 0, 0),
        Insn::new(0xb7, 0, 0, 0, 3),
        Insn::new(op::EXIT, 0, 0, 0, 0),
    ];
    let mut text = BoundText::of_one_function("entry", "GPL", insns).0;
    text.functions[0].len = 2;
    text.functions.push(FunctionSpan { name: "callee".to_owned(), start: 2, len: 2 });
    text.func_info = vec![FuncInfo { insn_off: 0, type_id: 5 }, FuncInfo { insn_off: 2, type_id: 6 }];
    let line = |insn_off, line_col| LineInfo { insn_off, file_name_off: 1, line_off: 2, line_col };
    text.line_info = vec![line(0, 7), line(1, 8), line(2, 9)];
    text.jump_tables = vec![JumpTable { loads: vec![0], entries: vec![2, 3] }];
    text
}

#[test]
fn guarded_program_keeps_functions_and_lines() {
    for namespaces in [None, Some(OFFSETS)] {
        let before = text();
        let guarded = guarded(&before, &test(namespaces, namespaces.map(|_| CREDENTIALS))).unwrap();
        let (after, by) = (&guarded.text, guarded.len);
        assert_eq!(after.insns[by..], before.insns);
        assert_eq!(after.functions[0].len, by + 2);
        assert_eq!((after.functions[1].start, after.functions[1].len), (by + 2, 2));
        assert_eq!(after.func_info.iter().map(|f| f.insn_off).collect::<Vec<_>>(), [0, by as u32 + 2]);
        let lines: Vec<_> = after.line_info.iter().map(|line| (line.insn_off, line.line_col)).collect();
        let at = by as u32;
        assert_eq!(lines, [(0, 7), (at, 7), (at + 1, 8), (at + 2, 9)]);
        assert_eq!(after.jump_tables, [JumpTable { loads: vec![by], entries: vec![at + 2, at + 3] }]);
        assert_eq!(after.map_indexes(), [3]);
        assert_eq!((after.insns[by - 1].dst(), after.insns[by - 1].src()), (1, 6));
    }
}

struct Task {
    cookie: u64,
    group: u64,
    own_group: u64,
    level: u64,
    namespace: (u32, u64),
    users: [u32; 3],
    flags: u64,
}

/// One entry at index 1. Returns whether the program would run.
fn passes(front: &[Insn], tasks: &GuardedTasks, task: &Task) -> bool {
    passes_beside(front, tasks, None, task)
}

/// Another entry at index 3.
fn passes_beside(front: &[Insn], tasks: &GuardedTasks, other: Option<GuardedTasks>, task: &Task) -> bool {
    const TASK: u64 = 1 << 32;
    const PROXY: u64 = 2 << 32;
    const PID_NS: u64 = 3 << 32;
    const FIRST: u64 = 4 << 32;
    const CRED: u64 = 5 << 32;
    const MEMORY: u64 = 6 << 32;
    const TABLE: u64 = 7 << 32;
    const SET: u64 = 8 << 32;
    const GROUP: u64 = 9 << 32;
    const NODE: u64 = 10 << 32;
    const CONTEXT: u64 = 11 << 32;
    let mut table = vec![0; guard_table().value_size as usize];
    assert!(set_guard_entry(&mut table, 1, tasks));
    if let Some(other) = &other {
        assert!(set_guard_entry(&mut table, 3, other));
    }
    let has_one_user = other.is_none_or(|other| other.user == tasks.user);
    let read = |address: u64, size: usize| -> u64 {
        if (TABLE..SET).contains(&address) {
            let at = usize::try_from(address - TABLE).unwrap();
            let mut bytes = [0; 8];
            bytes[..size].copy_from_slice(&table[at..at + size]);
            return u64::from_le_bytes(bytes);
        }
        let place = i16::try_from(address & 0xffff_ffff).unwrap();
        match address - (address & 0xffff_ffff) {
            TASK if place == OFFSETS.nsproxy => PROXY,
            TASK if place == CREDENTIALS.cred => CRED,
            TASK if place == 56 => MEMORY,
            TASK if place == GROUPS.way[0] => SET,
            SET if place == GROUPS.way[1] => GROUP,
            GROUP if place == GROUPS.way[2] => NODE,
            NODE if place == GROUPS.way[3] => task.own_group,
            GROUP if place == GROUPS.level => task.level,
            PROXY if place == OFFSETS.pid_ns => PID_NS,
            PID_NS if place == OFFSETS.inode => u64::from(task.namespace.0),
            PID_NS if place == OFFSETS.first => FIRST,
            FIRST if place == OFFSETS.began => task.namespace.1,
            CRED => u64::from(task.users[CREDENTIALS.users.iter().position(|at| *at == place).unwrap()]),
            MEMORY if place == 64 => task.flags & (u64::MAX >> (64 - 8 * size)),
            _ => panic!("{address:x}"),
        }
    };
    let (mut registers, mut at) = ([0_u64; 11], 0);
    registers[1] = CONTEXT;
    while at < front.len() {
        let insn = front[at];
        let (to, from) = (usize::from(insn.dst()), usize::from(insn.src()));
        let imm = i64::from(insn.imm).cast_unsigned();
        at += 1;
        match insn.code {
            op::EXIT => return false,
            op::JA => at = at.checked_add_signed(isize::from(insn.off)).unwrap(),
            op::CALL => {
                registers[0] = match insn.imm {
                    174 => {
                        let is_of_user = tasks.user.is_none_or(|user| user == task.users[0]);
                        assert!(other.is_some() && (is_of_user || !has_one_user), "for nothing");
                        assert_eq!(registers[1], CONTEXT);
                        task.cookie
                    }
                    123 => {
                        assert!(
                            tasks.user.is_none()
                                || task.cookie != 1
                                || task.own_group != 77 && task.level > 3,
                            "for nothing"
                        );
                        task.group
                    }
                    158 => TASK,
                    other => panic!("helper {other}"),
                };
                registers[1..6].fill(0xbad);
            }
            op::LD_IMM64 => (registers[to], at) = (TABLE, at + 1),
            0xbf => registers[to] = registers[from],
            0xb7 => registers[to] = imm,
            0x57 => registers[to] &= imm,
            0x67 => registers[to] <<= imm,
            0x0f => registers[to] += registers[from],
            0x1f => registers[to] = registers[to].wrapping_sub(registers[from]),
            0x61 | 0x79 => {
                let address = registers[from].wrapping_add_signed(i64::from(insn.off));
                registers[to] = read(address, if insn.code == 0x61 { 4 } else { 8 });
            }
            0x15 | 0x55 | 0x35 | 0x1d | 0x3d | 0x5d => {
                let (left, right) = (registers[to], if insn.code & 8 == 0 { imm } else { registers[from] });
                let is_taken = match insn.code {
                    0x15 | 0x1d => left == right,
                    0x35 | 0x3d => left >= right,
                    _ => left != right,
                };
                at = if is_taken { at.checked_add_signed(isize::from(insn.off)).unwrap() } else { at };
            }
            code => panic!("code {code:x}"),
        }
    }
    registers[1] == CONTEXT
}

#[test]
fn program_runs_for_the_tasks_of_its_entry_alone() {
    let by_group = TaskGroup::ControlGroup { level: 3, id: 77 };
    let by_namespace = TaskGroup::PidNamespace { inode: 9, began: 5 };
    let task = || Task {
        cookie: 1,
        group: 77,
        own_group: 79,
        level: 4,
        namespace: (9, 50_000_001),
        users: [1000; 3],
        flags: 1,
    };
    for credentials in [CREDENTIALS, NEWER] {
        let whole = guarded(&text(), &test(Some(OFFSETS), Some(credentials))).unwrap();
        let runs = |group, user, task: &Task| {
            passes(&whole.text.insns[..whole.len], &GuardedTasks { group, user }, task)
        };
        for (group, user) in
            [(by_group, None), (by_group, Some(1000)), (by_namespace, None), (by_namespace, Some(1000))]
        {
            assert!(runs(group, user, &task()), "{group:?}, {user:?}");
            let elsewhere = TaskGroup::ControlGroup { level: 3, id: 99 };
            for other in [user, None, Some(7)].map(|user| GuardedTasks { group: elsewhere, user }) {
                let front = &whole.text.insns[..whole.len];
                let runs = |task| passes_beside(front, &GuardedTasks { group, user }, Some(other), &task);
                assert!(runs(task()), "{group:?}, {user:?}");
                assert!(!runs(Task { users: [7; 3], ..task() }) || user.is_none());
                for cookie in [0, 2, 3, u64::from(GUARD_ENTRIES), u64::MAX] {
                    assert!(!runs(Task { cookie, ..task() }), "{group:?}: cookie {cookie}");
                }
            }
        }
        for user in [None, Some(1000)] {
            assert!(!runs(by_group, user, &Task { group: 78, own_group: 78, ..task() }));
            assert!(runs(by_group, user, &Task { own_group: 77, level: 3, ..task() }));
            for level in [0, 2, 3] {
                assert!(!runs(by_group, user, &Task { group: 78, own_group: 78, level, ..task() }));
            }
        }
        let elsewhere = Task { own_group: 77, namespace: (8, 0), ..task() };
        assert!(!runs(by_namespace, Some(1000), &elsewhere), "a namespace is no cgroup");
        for namespace in [(8, 50_000_001), (9, 49_999_999), (9, 60_000_000)] {
            assert!(!runs(by_namespace, None, &Task { namespace, ..task() }), "{namespace:?}");
        }
        // A program that set its user id, one that gave up root's, and one whose memory only root may read.
        for users in [[0, 1000, 1000], [1000, 0, 0], [1000, 1000, 0], [1001; 3]] {
            assert!(!runs(by_group, Some(1000), &Task { users, own_group: 77, ..task() }), "{users:?}");
            assert!(runs(by_group, None, &Task { users, ..task() }), "{users:?}");
        }
        for flags in [0, 2, 3, 4] {
            assert!(!runs(by_group, Some(1000), &Task { flags, own_group: 77, ..task() }), "{flags}");
        }
        assert!(runs(by_group, Some(1000), &Task { flags: 0x85, ..task() }));
    }
}

#[test]
fn user_without_testable_identity_matches_nowhere() {
    let without = guarded(&text(), &test(Some(OFFSETS), None)).unwrap();
    let group = TaskGroup::ControlGroup { level: 3, id: 77 };
    let task = Task {
        cookie: 1,
        group: 77,
        own_group: 79,
        level: 4,
        namespace: (9, 50_000_001),
        users: [1000; 3],
        flags: 1,
    };
    let front = &without.text.insns[..without.len];
    assert!(passes(front, &GuardedTasks { group, user: None }, &task));
    assert!(!passes(front, &GuardedTasks { group, user: Some(1000) }, &task));
}

#[test]
fn unfilled_and_first_entry_match_no_task() {
    let spec = guard_table();
    let mut table = vec![0; spec.value_size as usize];
    let group = TaskGroup::ControlGroup { level: 3, id: 0x1_0000_0007 };
    let group = GuardedTasks { group, user: None };
    assert!(!set_guard_entry(&mut table, 0, &group));
    assert!(!set_guard_entry(&mut table, GUARD_ENTRIES, &group));
    assert!(table.iter().all(|byte| *byte == 0));
    assert!(set_guard_entry(&mut table, 1, &group));
    assert!(set_guard_entry(&mut table, GUARD_ENTRIES - 1, &group));
    assert_eq!(table[32..64], guard_entry(&group));
    assert!(table[64..96].iter().all(|byte| *byte == 0), "the others are as they were");
    let namespace =
        guard_entry(&GuardedTasks { group: TaskGroup::PidNamespace { inode: 9, began: 5 }, user: None });
    assert_eq!(u64::from_ne_bytes(namespace[8..16].try_into().unwrap()), 50_000_000);
    assert_ne!(namespace[..4], guard_entry(&group)[..4]);
}

#[test]
fn table_of_an_earlier_version_takes_tasks_but_no_user() {
    let mut table = vec![0; 16 * GUARD_ENTRIES as usize];
    let group = TaskGroup::ControlGroup { level: 3, id: 7 };
    assert!(set_guard_entry(&mut table, 1, &GuardedTasks { group, user: None }));
    assert_eq!(table[16..32], guard_entry(&GuardedTasks { group, user: None })[..16]);
    assert!(!set_guard_entry(&mut table, 2, &GuardedTasks { group, user: Some(1000) }));
    assert!(table[32..].iter().all(|byte| *byte == 0));
}

#[test]
fn program_of_a_perf_event_has_one_result() {
    let test = GuardTest { neutral: 1, only_neutral: true, ..test(Some(OFFSETS), Some(CREDENTIALS)) };
    let guarded = guarded(&text(), &test).unwrap();
    let (insns, len) = (&guarded.text.insns, guarded.len);
    // Its own exit leads to the end, that of the function that it calls does not.
    let exit = insns[len + 1];
    assert_eq!((exit.code, (len + 2) as i64 + i64::from(exit.off)), (op::JA, 1));
    assert_eq!(insns[1..3], [Insn::new(0xb7, 0, 0, 0, 1), Insn::new(op::EXIT, 0, 0, 0, 0)]);
    assert_eq!(insns[len + 3], Insn::new(op::EXIT, 0, 0, 0, 0));
    assert_eq!((insns[0].code, insns[0].off), (op::JA, 2));
}
