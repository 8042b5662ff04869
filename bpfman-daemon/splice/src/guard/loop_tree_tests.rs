use std::cell::Cell;

use crate::guard::loops::tests::{EXIT, bpf_for, counted, number, plain, program, turns};

std::thread_local! {
    pub(super) static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
}

/// Returns how often the analysis visits an instruction on average, in a program of `count` equal parts.
fn passes(part: &[bpfman_model::Insn], count: usize) -> usize {
    let insns = [part.repeat(count), vec![EXIT]].concat();
    let len = insns.len();
    LOOKED_AT.set(0);
    let _refused_or_not = counted(&program(&[insns]), &[]);
    LOOKED_AT.get() / len
}

#[test]
fn time_of_the_analysis_grows_with_the_text_alone() {
    for part in [
        plain(&[number(7, 0)]),
        bpf_for(-8, 10, &[]),
        turns(-8, &[number(7, 0)]),
        bpf_for(-8, 2, &bpf_for(-16, 2, &[])),
    ] {
        for count in [100, 1000, 10_000] {
            let passes = passes(&part, count);
            assert!(passes <= 40, "{passes} passes over {count} parts of {} instructions", part.len());
        }
    }
}
