//! Descriptors that readings of metrics leave open.

use std::time::Instant;

use bpfman_model::ProgramId;
use bpfmand_engine::{FiguresCache, ReplaceRequest};

use crate::bench::{Ask as _, Bench, Testable};
use crate::replacements::{replacement, until_gone};

fn readings_keep_nothing_in_the_kernel_that_has_ended<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let desk = FiguresCache::default();
    let read = || -> Vec<ProgramId> {
        let figures = desk.read(&engine, Instant::now(), false).unwrap();
        figures.programs.iter().map(|program| program.id).collect()
    };
    let loaded = engine.load(&bench.request("programs", &["alpha", "bravo"])).unwrap();
    let [alpha, bravo] = [0, 1].map(|place: usize| loaded.programs[place].id);
    for _ in 0..2 {
        assert_eq!(read(), [alpha, bravo]);
    }
    engine.unload(bravo).unwrap();
    until_gone(&*bench.kernel, bravo);
    assert_eq!(read(), [alpha]);

    let second = ReplaceRequest { keep_old: false, ..replacement(bench, alpha, "second") };
    engine.replace_program(&second).unwrap();
    until_gone(&*bench.kernel, alpha);
    let now = engine.ids();
    assert!(!now.contains(&alpha), "it has another id");
    assert_eq!(read(), now);
    for program in now {
        engine.unload(program).unwrap();
        until_gone(&*bench.kernel, program);
    }
    assert_eq!(read(), []);
}

crate::on_both_kernels!(readings_keep_nothing_in_the_kernel_that_has_ended);
