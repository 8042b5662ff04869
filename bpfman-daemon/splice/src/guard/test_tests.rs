use bpfmand_core::{
    BoundText, FuncInfo, FunctionSpan, Insn, JumpTable, LineInfo, ProgramText, TaskGroup, op,
};

use super::test::{
    GUARD_ENTRIES, GuardTest, TaskOffsets, guard_entry, guard_table, guarded, set_guard_entry,
};

const OFFSETS: TaskOffsets = TaskOffsets { nsproxy: 8, pid_ns: 16, inode: 24, first: 32, began: 40 };

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
fn what_it_was_follows_with_its_functions_and_lines() {
    for namespaces in [None, Some(OFFSETS)] {
        let before = text();
        let guarded = guarded(&before, &GuardTest { table: 3, namespaces });
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
        // The context is back where the program looks for it.
        assert_eq!((after.insns[by - 1].dst(), after.insns[by - 1].src()), (1, 6));
    }
}

/// Every way through the test either ends it by 0 or reaches the program, and the shortest that reaches it has compared.
#[test]
fn no_way_reaches_the_program_but_over_a_comparison() {
    let guarded = guarded(&text(), &GuardTest { table: 0, namespaces: Some(OFFSETS) });
    let front = &guarded.text.insns[..guarded.len];
    let passed = guarded.len - 1;
    let lands = |at: usize| at as i64 + 1 + i64::from(front[at].off);
    let into: Vec<usize> = (0..passed)
        .filter(|at| front[*at].class() == op::CLASS_JMP && front[*at].code != op::CALL)
        .filter(|at| front[*at].code != op::EXIT && lands(*at) == passed as i64)
        .collect();
    assert_eq!(into.len(), 1, "one jump leads there: the ids were the same");
    assert_eq!(front[into[0]].code, 0x1d, "equal registers");
    // By falling through: behind the last comparison with the first process' beginning.
    assert_eq!(front[passed - 1].code, 0x35);
}

#[test]
fn an_entry_that_nobody_filled_and_the_first_one_let_nobody_in() {
    let spec = guard_table();
    let mut table = vec![0; spec.value_size as usize];
    let group = TaskGroup::ControlGroup { level: 3, id: 0x1_0000_0007 };
    assert!(!set_guard_entry(&mut table, 0, &group));
    assert!(!set_guard_entry(&mut table, GUARD_ENTRIES, &group));
    assert!(table.iter().all(|byte| *byte == 0));
    assert!(set_guard_entry(&mut table, 1, &group));
    assert!(set_guard_entry(&mut table, GUARD_ENTRIES - 1, &group));
    assert_eq!(table[16..32], guard_entry(&group));
    assert!(table[32..48].iter().all(|byte| *byte == 0), "the others are as they were");
    let namespace = guard_entry(&TaskGroup::PidNamespace { inode: 9, began: 5 });
    assert_eq!(u64::from_ne_bytes(namespace[8..].try_into().unwrap()), 50_000_000);
    assert_ne!(namespace[..4], guard_entry(&group)[..4]);
}
