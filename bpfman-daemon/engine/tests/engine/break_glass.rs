//! Break-glass: attachments are removed by their pins alone, replacements stay, and a start restores the rest.

use std::path::Path;

use bpfman_model::{Direction, ProgramType};
use bpfmand_engine::{DetachRank, find_attached};

use crate::bench::{Ask as _, Bench, Testable, pins, tracepoint};
use crate::kernel_rules::program;

fn everything_of_ours_goes_by_pins_alone_and_comes_back<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [xdp, tc, probe] = engine.loads(&bench.request("programs", &["alpha", "tango", "trace"]))[..] else {
        panic!()
    };
    engine.attached(probe, tracepoint("sched_switch"));
    engine.attached(tc, bench.tc(Direction::Ingress, 1));
    engine.attached(xdp, bench.xdp(1));
    drop(engine);
    let kernel = &*bench.kernel;
    let found = find_attached(kernel);
    assert_eq!(found.left, Vec::<String>::new());
    let ranks: Vec<_> = found.ours.iter().map(|thing| thing.rank).collect();
    assert_eq!(ranks, [DetachRank::Xdp, DetachRank::Tc, DetachRank::Watches]);
    for thing in &found.ours {
        thing.detach(kernel).unwrap();
    }
    let again = find_attached(kernel);
    assert_eq!((again.ours, again.left), (Vec::new(), Vec::new()));
    assert!(kernel.open_program(xdp).unwrap().is_some(), "it stays loaded");
    let (engine, report) = bench.start();
    assert_eq!((report.reattached, report.problems), (3, Vec::new()));
    assert!(engine.all_links().iter().all(|link| link.standing.is_running()), "{:?}", engine.all_links());
}

fn break_glass_keeps_third_party_program_in_link<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [xdp] = engine.loads(&bench.request("programs", &["alpha"]))[..] else { panic!() };
    engine.attached(xdp, bench.xdp(1));
    let kernel = &*bench.kernel;
    let theirs = program(kernel, ProgramType::Xdp, 2, None);
    let their_id = kernel.program_of(&theirs).unwrap().id;
    let pin = pins(kernel, Path::new("xdp")).remove(0);
    let link = kernel.open_pin(Path::new(&pin)).unwrap().unwrap();
    let ours = kernel.open_program(xdp).unwrap().unwrap();
    kernel.replace(&link, &theirs, &ours).unwrap();
    let found = find_attached(kernel);
    assert_eq!(found.ours, Vec::new());
    assert!(found.left.len() == 1 && found.left[0].contains(&format!("program {their_id}")), "{found:?}");
    assert_eq!(kernel.link_of(&link).unwrap().program, their_id);
}

crate::on_both_kernels!(
    everything_of_ours_goes_by_pins_alone_and_comes_back,
    break_glass_keeps_third_party_program_in_link,
);
