use std::sync::Arc;

use bpfman_model::{FuncInfo, Insn, op};

use super::*;
use crate::guard::loops::tests::{EXIT, bpf_for, counted, helper, looped, map_in, number, plain, program};

fn call_next(at: usize, len: usize) -> Insn {
    Insn::new(op::CALL, 0, op::PSEUDO_CALL, 0, (len - at - 1) as i32)
}

fn steps(functions: &[Vec<Insn>], verified: u32) -> u64 {
    counted(&program(functions), &[]).unwrap().steps(verified)
}

fn steps_of_global(functions: &[Vec<Insn>], verified: u32) -> u64 {
    let mut text = program(functions);
    const GLOBAL: u32 = 1;
    let words = [0, records::FUNC << 24, 0, 0, records::FUNC << 24 | GLOBAL, 0];
    let types: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
    text.btf = Some(Arc::from(records::assemble(&types, &[0])));
    let infos = text.functions.iter().enumerate();
    text.func_info = infos
        .map(|(number, function)| FuncInfo {
            insn_off: function.start as u32,
            type_id: if number == 0 { 1 } else { 2 },
        })
        .collect();
    counted(&text, &[]).unwrap().steps(verified)
}

#[test]
fn only_what_a_loop_repeats_is_multiplied() {
    let leaf = vec![number(0, 0), EXIT];
    let mut long = vec![number(6, 0); 5000];
    long.extend(looped(5000, 100, 5008));
    assert_eq!(steps(&[long, leaf.clone()], 6000), 5007 + 100 * 2);
    assert_eq!(steps(&[looped(0, 100, 8), looped(8, 100, 16), leaf], 1 << 20), 7 + 100 * (7 + 100 * 2));
    // Three instructions of each round are a body, five the iterator's.
    let one = [vec![number(6, 0); 5000], bpf_for(-8, 1000, &[number(6, 0); 3]), vec![EXIT]].concat();
    assert_eq!(steps(&[one], 6000), 5000 + 5 + 1001 * 8 + 1);
    let nested = [bpf_for(-8, 100, &bpf_for(-16, 100, &[])), vec![EXIT]].concat();
    assert_eq!(steps(&[nested], 1 << 20), 5 + 101 * (5 + 5 + 101 * 5) + 1);
}

#[test]
fn plain_loops_are_what_the_verifier_walked_through() {
    let one = [plain(&[number(7, 0)]), vec![EXIT]].concat();
    assert_eq!(steps(std::slice::from_ref(&one), 3000), 3000);
    let within = [looped(0, 100, 8), one.clone()];
    assert_eq!(steps(&within, 3000), 100 * 3000);
    let around = [plain(&[call_next(0, 3)]), vec![EXIT]].concat();
    assert_eq!(steps(&[around.clone(), one.clone()], 3000), 3000);
}

#[test]
fn loops_around_calls_of_global_functions_multiply() {
    let one = [plain(&[number(7, 0)]), vec![EXIT]].concat();
    let around = [plain(&[call_next(0, 3)]), vec![EXIT]].concat();
    assert_eq!(steps_of_global(&[around.clone(), one.clone()], 3000), 3000 * 3000);
    assert_eq!(steps_of_global(&[around.clone(), around, one], 3000), 3000 * 3000 * 3000);
    let once = vec![call_next(0, 2), EXIT];
    assert_eq!(steps_of_global(&[once, vec![number(0, 0), EXIT]], 3000), 4);
}

#[test]
fn time_of_helpers_in_loops_counts() {
    const UPDATE: i32 = 2;
    const CURRENT_CPU: i32 = 8;
    let body = |call: i32| [&map_in(1, 3)[..], &[helper(call)]].concat();
    let counted = |call| [bpf_for(-8, 1000, &body(call)), vec![EXIT]].concat();
    assert!(steps(&[counted(UPDATE)], 20_000) > 1000 * (4 << 20) / 16);
    assert!(steps(&[counted(CURRENT_CPU)], 20_000) < 20_000);
    let walked = |call| [plain(&body(call)), vec![EXIT]].concat();
    assert!(steps(&[walked(UPDATE)], 4000) > 1000 * (4 << 20) / 16);
    assert_eq!(steps(&[walked(CURRENT_CPU)], 4000), 4000);
    let once = [body(UPDATE), vec![EXIT]].concat();
    assert!(steps(&[once], 4000) < 300_000);
    let callback = [body(UPDATE), vec![EXIT]].concat();
    assert!(steps(&[looped(0, 1000, 8), callback], 4000) > 1000 * (4 << 20) / 16);
}

#[test]
fn memory_of_unknown_place_or_size_counts_as_the_largest() {
    const COPY: i32 = 148;
    const FRAME: u8 = 10;
    let one = |before: &[Insn]| steps(&[[before, &[helper(COPY), EXIT]].concat()], 100_000);
    let to_frame = Insn::new(crate::text::opcode::MOV64_REG, 1, FRAME, 0, 0);
    assert!(one(&[]) > (64 << 10) / 16);
    assert!(one(&[to_frame]) < 1000);
    assert!(one(&[number(2, 16)]) < 1000);
}
