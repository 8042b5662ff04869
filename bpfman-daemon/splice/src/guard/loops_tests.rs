use std::collections::BTreeSet;

use bpfmand_core::{BoundText, FunctionSpan, ProgramType, op};

use super::*;
use crate::text::opcode::{JEQ64, MOV64_IMM, MOV64_REG};

const EXIT: Insn = Insn::new(op::EXIT, 0, 0, 0, 0);

fn number(register: u8, value: i32) -> Insn {
    Insn::new(MOV64_IMM, register, 0, 0, value)
}

fn helper(number: i32) -> Insn {
    Insn::new(op::CALL, 0, 0, 0, number)
}

fn kernel_function(id: i32) -> Insn {
    Insn::new(op::CALL, 0, op::PSEUDO_KFUNC_CALL, 0, id)
}

/// A call of `bpf_loop`, of eight instructions, that begins at `at`.
fn looped(at: i32, rounds: i32, callback: i32) -> Vec<Insn> {
    let pointer = Insn::new(op::LD_IMM64, 2, op::PSEUDO_FUNC, 0, callback - at - 2);
    let half = Insn::new(0, 0, 0, 0, 0);
    vec![number(1, rounds), pointer, half, number(3, 0), number(4, 0), helper(LOOP), number(0, 0), EXIT]
}

/// Functions one behind the other.
fn program(functions: &[Vec<Insn>]) -> ProgramText {
    let mut text = BoundText::of_one_function("f0", "GPL", functions.concat()).0;
    text.functions.clear();
    let mut start = 0;
    for (number, insns) in functions.iter().enumerate() {
        text.functions.push(FunctionSpan { name: format!("f{number}"), start, len: insns.len() });
        start += insns.len();
    }
    text
}

fn count(functions: &[Vec<Insn>], granted: &[&str]) -> Result<u64, ForbiddenUse> {
    let granted: BTreeSet<String> = granted.iter().map(|name| (*name).to_owned()).collect();
    let name = |call: &Insn| Some(["bpf_iter_num_next", ITERATOR][usize::from(call.imm == 1)].to_owned());
    let entries = |index: usize| [Some(10), Some(1 << 20), None][index];
    Calls::new(ProgramType::Xdp, &granted).rounds(&program(functions), name, entries)
}

#[test]
fn nested_loops_multiply() {
    let leaf = vec![number(0, 0), EXIT];
    assert_eq!(count(&[looped(0, 100_000, 8), leaf.clone()], &[]), Ok(100_000));
    assert_eq!(count(&[looped(0, 300, 8), looped(8, 300, 16), leaf.clone()], &[]), Ok(90_000));
    let refused = count(&[looped(0, 400, 8), looped(8, 300, 16), leaf.clone()], &[]).unwrap_err();
    assert_eq!((refused.function.as_str(), refused.at, refused.name.as_deref()), ("f0", 5, Some("bpf_loop")));
    assert!(refused.what.contains("for 120000 rounds"), "{}", refused.what);
    let refused = count(&[looped(0, 2, 8), looped(8, 1 << 23, 16), leaf.clone()], &[]).unwrap_err();
    assert_eq!((refused.function.as_str(), refused.at), ("f1", 5));
    assert_eq!(count(&[looped(0, 1 << 23, 8), leaf], &["bpf_loop"]), Ok(1));
}

#[test]
fn loops_in_functions_count_where_these_are_called() {
    let mut callback = vec![Insn::new(op::CALL, 0, op::PSEUDO_CALL, 0, 1), EXIT];
    callback.truncate(2);
    let leaf = vec![number(0, 0), EXIT];
    let functions = [looped(0, 400, 8), callback, looped(10, 300, 18), leaf];
    let refused = count(&functions, &[]).unwrap_err();
    assert_eq!((refused.function.as_str(), refused.at), ("f0", 5));
}

#[test]
fn counts_that_are_no_constants_are_refused() {
    let mut unknown = looped(0, 10, 8);
    unknown[0] = Insn::new(MOV64_REG, 1, 6, 0, 0);
    let leaf = vec![number(0, 0), EXIT];
    let refused = count(&[unknown, leaf.clone()], &[]).unwrap_err();
    assert!(refused.what.ends_with("no constant"), "{}", refused.what);
    let mut either = looped(1, 10, 9);
    either.splice(0..1, [number(1, 5), Insn::new(JEQ64, 0, 0, 1, 0), number(1, 6)]);
    assert!(count(&[either, leaf.clone()], &[]).is_err(), "of two values");
    let forever = vec![Insn::new(op::JCOND, 0, 0, -1, 0), EXIT];
    assert!(count(&[forever], &[]).unwrap_err().what.contains("may_goto"));
}

#[test]
fn elements_of_maps_count_as_rounds() {
    let leaf = vec![number(0, 0), EXIT];
    let each = |map: i32| {
        let mut insns = looped(0, 0, 8);
        let reference = Insn::new(op::LD_IMM64, 1, op::PSEUDO_MAP_FD, 0, map);
        insns.splice(0..1, [reference, Insn::new(0, 0, 0, 0, 0)]);
        insns[6] = helper(FOR_EACH_MAP_ELEM);
        insns
    };
    assert_eq!(count(&[each(0), leaf.clone()], &[]), Ok(10));
    assert!(count(&[each(1), leaf.clone()], &[]).unwrap_err().what.contains("for 1048576 rounds"));
    assert!(count(&[each(2), leaf], &[]).unwrap_err().what.contains("no constant"));
}

#[test]
fn iterators_in_cycles_multiply() {
    let new = |rounds| vec![number(2, 0), number(3, rounds), kernel_function(1)];
    let next = |back: i16| vec![kernel_function(2), Insn::new(JEQ64, 0, 0, back, 0)];
    let one_after_another = [new(1000), next(-2), new(1000), next(-2), vec![EXIT]].concat();
    assert_eq!(count(&[one_after_another], &[]), Ok(1000));
    let nested = |inner| [new(1000), new(inner), next(-2), next(-7), vec![EXIT]].concat();
    assert_eq!(count(&[nested(100)], &[]), Ok(100_000));
    let refused = count(&[nested(101)], &[]).unwrap_err();
    assert_eq!(refused.name.as_deref(), Some(ITERATOR));
    let from_unknown = [vec![number(3, 5), kernel_function(1)], next(-2), vec![EXIT]].concat();
    assert!(count(&[from_unknown], &[]).is_err());
}
