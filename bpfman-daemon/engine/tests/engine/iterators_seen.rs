//! Iterators on this machine's kernel write for their readers.

use std::io::Write as _;

use bpfman_model::{AttachPoint, Reason};
use bpfmand_engine::Engine;
use bpfmand_kernel::linux::LinuxKernel;

use crate::bench::Ask as _;
use crate::linux::bench;

#[test]
fn linux_an_iterator_writes_for_its_reader() {
    let bench = bench("iterator");
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["list_maps"]))[0];
    let link = engine.attached(program, AttachPoint::Iter);
    let read = |engine: &Engine<LinuxKernel>| {
        let mut text = Vec::new();
        engine.read_iterator(link, &mut |piece| text.write_all(piece).is_ok()).unwrap();
        String::from_utf8(text).unwrap()
    };
    let own = format!("map {}", engine.map_pins(program)["runs"]);
    assert!(read(&engine).lines().any(|line| line == own));
    drop(engine);
    assert!(read(&bench.engine()).lines().any(|line| line == own));
}

#[test]
fn linux_an_iterator_that_wants_to_run_again_and_again_is_ended() {
    let bench = bench("again-and-again");
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["list_for_ever"]))[0];
    let link = engine.attached(program, AttachPoint::Iter);
    let mut steps = 0;
    let reads = engine.read_iterator(link, &mut |_| {
        steps += 1;
        if steps == 2 {
            engine.detach(link).unwrap();
        }
        true
    });
    assert!(reads.unwrap_err().to_string().contains("read what an iterator writes"));
    assert!(steps > 2 && engine.all_links().is_empty());
    let link = engine.attached(program, AttachPoint::Iter);
    engine.read_iterator(link, &mut |_| false).unwrap();
}

#[test]
fn linux_only_iterators_are_read() {
    let bench = bench("reading");
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["raw_switch"]))[0];
    let link = engine.attached(program, AttachPoint::RawTracepoint { name: "sched_switch".to_owned() });
    let error = engine.read_iterator(link, &mut |_| true).unwrap_err();
    assert_eq!(error.kind(), Reason::Invalid);
    assert!(error.to_string().contains("is of type raw_tracepoint"), "{error}");
}
