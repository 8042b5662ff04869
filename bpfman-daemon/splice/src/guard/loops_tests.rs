use std::collections::BTreeSet;

use bpfman_model::{BoundText, FunctionSpan, ProgramType, op};

use super::*;
use crate::text::opcode::{ADD64_IMM, FRAME, JEQ64, MOV64_IMM, MOV64_REG};

pub(in crate::guard) const EXIT: Insn = Insn::new(op::EXIT, 0, 0, 0, 0);

pub(in crate::guard) fn number(register: u8, value: i32) -> Insn {
    Insn::new(MOV64_IMM, register, 0, 0, value)
}

pub(in crate::guard) fn helper(number: i32) -> Insn {
    Insn::new(op::CALL, 0, 0, 0, number)
}

fn kernel_function(id: i32) -> Insn {
    Insn::new(op::CALL, 0, op::PSEUDO_KFUNC_CALL, 0, id)
}

pub(in crate::guard) fn map_in(register: u8, map: i32) -> [Insn; 2] {
    [Insn::new(op::LD_IMM64, register, op::PSEUDO_MAP_FD, 0, map), Insn::new(0, 0, 0, 0, 0)]
}

/// A call of `bpf_loop`, eight instructions from `at` on.
pub(in crate::guard) fn looped(at: i32, rounds: i32, callback: i32) -> Vec<Insn> {
    let pointer = Insn::new(op::LD_IMM64, 2, op::PSEUDO_FUNC, 0, callback - at - 2);
    let half = Insn::new(0, 0, 0, 0, 0);
    vec![number(1, rounds), pointer, half, number(3, 0), number(4, 0), helper(LOOP), number(0, 0), EXIT]
}

pub(in crate::guard) fn program(functions: &[Vec<Insn>]) -> ProgramText {
    let mut text = BoundText::of_one_function("f0", "GPL", functions.concat()).0;
    text.functions.clear();
    let mut start = 0;
    for (number, insns) in functions.iter().enumerate() {
        text.functions.push(FunctionSpan { name: format!("f{number}"), start, len: insns.len() });
        start += insns.len();
    }
    text
}

pub(in crate::guard) fn counted(text: &ProgramText, granted: &[&str]) -> Result<CountedLoops, ForbiddenUse> {
    let granted: BTreeSet<String> = granted.iter().map(|name| (*name).to_owned()).collect();
    let name = |call: &Insn| Some([NEXT, ITERATOR][usize::from(call.imm == 1)].to_owned());
    let map = |index: usize| {
        let value_size = [8, 8, 8, 4 << 20][index];
        let entries = [Some(10), Some(1 << 20), None, Some(1)][index];
        Some(MapBounds { entries, key_size: 4, value_size, is_trie: false })
    };
    Calls::new(ProgramType::Xdp, &granted).loops(text, name, map)
}

fn count(functions: &[Vec<Insn>], granted: &[&str]) -> Result<u64, ForbiddenUse> {
    counted(&program(functions), granted).map(|loops| loops.rounds())
}

fn place(distance: i32) -> [Insn; 2] {
    [Insn::new(MOV64_REG, 1, FRAME, 0, 0), Insn::new(ADD64_IMM, 1, 0, 0, distance)]
}

fn begin(distance: i32, rounds: i32) -> Vec<Insn> {
    [&place(distance)[..], &[number(2, 0), number(3, rounds), kernel_function(1)]].concat()
}

pub(in crate::guard) fn turns(distance: i32, body: &[Insn]) -> Vec<Insn> {
    let out = Insn::new(JEQ64, 0, 0, body.len() as i16 + 1, 0);
    let back = Insn::new(op::JA, 0, 0, -(body.len() as i16) - 5, 0);
    [&place(distance)[..], &[kernel_function(2), out], body, &[back]].concat()
}

pub(in crate::guard) fn bpf_for(distance: i32, rounds: i32, body: &[Insn]) -> Vec<Insn> {
    [begin(distance, rounds), turns(distance, body)].concat()
}

pub(in crate::guard) fn plain(body: &[Insn]) -> Vec<Insn> {
    [body, &[Insn::new(JEQ64, 6, 0, -(body.len() as i16) - 1, 0)]].concat()
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
fn iterators_in_loops_multiply() {
    let one_after_another = [bpf_for(-8, 1000, &[]), bpf_for(-8, 1000, &[]), vec![EXIT]].concat();
    assert_eq!(count(&[one_after_another], &[]), Ok(1000));
    let nested = |inner| [bpf_for(-8, 1000, &bpf_for(-16, inner, &[])), vec![EXIT]].concat();
    assert_eq!(count(&[nested(100)], &[]), Ok(100_000));
    let refused = count(&[nested(101)], &[]).unwrap_err();
    assert_eq!(refused.name.as_deref(), Some(ITERATOR));
    let beside = [bpf_for(-16, 1000, &[]), bpf_for(-16, 1000, &[])].concat();
    assert_eq!(count(&[[bpf_for(-8, 100, &beside), vec![EXIT]].concat()], &[]), Ok(100_000));
    // The verifier may mistake a round of the outer loop for the one before, and accept a loop that never ends.
    let in_plain = [plain(&bpf_for(-8, 1000, &[])), vec![EXIT]].concat();
    assert!(count(&[in_plain], &[]).unwrap_err().what.contains("no iterator bounds"));
    let call = Insn::new(op::CALL, 0, op::PSEUDO_CALL, 0, 2);
    let called_in_plain =
        [[plain(&[call]), vec![EXIT]].concat(), [bpf_for(-8, 10, &[]), vec![EXIT]].concat()];
    let refused = count(&called_in_plain, &[]).unwrap_err();
    assert!(refused.what.contains("no iterator bounds"), "{}", refused.what);
    let mut from_unknown = bpf_for(-8, 5, &[]);
    from_unknown[2] = Insn::new(MOV64_REG, 2, 6, 0, 0);
    from_unknown.push(EXIT);
    assert!(count(&[from_unknown], &[]).is_err());
}

#[test]
fn iterators_of_functions_multiply_where_these_are_called() {
    let call = |distance| Insn::new(op::CALL, 0, op::PSEUDO_CALL, 0, distance);
    let callee = |rounds| [bpf_for(-8, rounds, &[]), vec![EXIT]].concat();
    let caller = [bpf_for(-8, 1000, &[call(2)]), vec![EXIT]].concat();
    assert_eq!(count(&[caller.clone(), callee(100)], &[]), Ok(100_000));
    assert!(count(&[caller, callee(101)], &[]).unwrap_err().what.contains("for 101000 rounds"));
    // A function begins the iterator of its caller, which runs the rounds.
    let begins = vec![number(2, 0), number(3, 1000), kernel_function(1), EXIT];
    let one = |distance| [&place(distance)[..], &[call(0)]].concat();
    let mut nested = [one(-8), turns(-8, &[one(-16), turns(-16, &[])].concat()), vec![EXIT]].concat();
    for (at, distance) in [(2, 14), (9, 7)] {
        nested[at] = call(distance);
    }
    let refused = count(&[nested, begins], &[]).unwrap_err();
    assert!(refused.what.contains("no iterator bounds"), "{}", refused.what);
}

#[test]
fn an_iterator_begun_again_by_its_own_loop_is_refused() {
    // Each of two loops begins the iterator of the other one again: none ends.
    let body = [begin(-8, 10), turns(-16, &begin(-8, 10))].concat();
    let again = [begin(-16, 10), bpf_for(-8, 10, &[begin(-16, 10), body].concat()), vec![EXIT]].concat();
    assert!(count(&[again], &[]).unwrap_err().what.contains("no iterator bounds"));
}

#[test]
fn tail_calls_are_not_repeated() {
    let tail_call = helper(TAIL_CALL);
    let leaf = vec![tail_call, EXIT];
    assert_eq!(count(std::slice::from_ref(&leaf), &[]), Ok(1));
    let calls = vec![Insn::new(op::CALL, 0, op::PSEUDO_CALL, 0, 1), EXIT];
    for (functions, function, what) in [
        (vec![calls, leaf.clone()], "f1", "entry function"),
        (vec![looped(0, 10, 8), leaf], "f1", "entry function"),
        (vec![[plain(&[tail_call]), vec![EXIT]].concat()], "f0", "a tail call in a loop"),
        (vec![[bpf_for(-8, 10, &[tail_call]), vec![EXIT]].concat()], "f0", "a tail call in a loop"),
    ] {
        let refused = count(&functions, &[]).unwrap_err();
        assert_eq!(refused.function, function);
        assert!(refused.what.contains(what), "{}", refused.what);
    }
}

#[test]
fn more_functions_than_the_kernel_takes_are_refused() {
    let functions = |count| vec![vec![number(0, 0), EXIT]; count];
    assert_eq!(count(&functions(MAX_FUNCTIONS), &[]), Ok(1));
    let refused = count(&functions(MAX_FUNCTIONS + 1), &[]).unwrap_err();
    assert!(refused.what.contains("257 functions"), "{}", refused.what);
}
