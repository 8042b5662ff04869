//! Counters of chains over all changes of a hook. The tests write map rows in place of the programs.

use std::path::{Path, PathBuf};

use bpfman_model::{AttachPoint, HookKind, LinkId};
use bpfmand_engine::{ChainCounters, Engine, HookChange, SwitchCaller};
use bpfmand_splice::{CounterLayout, SpliceHook};

use crate::bench::{Ask as _, Bench, Testable};

const XDP: HookKind = HookKind::Xdp;
const DROP: i32 = 1;
const PASS: i32 = 2;

fn map<K: Testable>(bench: &Bench<K>, engine: &Engine<K>) -> K::Handle {
    let entry = engine.chain(&bench.left(), XDP).unwrap().entry.unwrap();
    let chains = Path::new("chains");
    let pins = bench.kernel.list_folder(chains).unwrap().into_iter().map(|name| chains.join(name));
    let is_it = |folder: &PathBuf| {
        let program = bench.kernel.open_pin(&folder.join("program_0")).unwrap().unwrap();
        bench.kernel.program_of(&program).unwrap().id == entry.id
    };
    let folder = pins.into_iter().find(is_it).unwrap();
    bench.kernel.open_pin(&folder.join("counters")).unwrap().unwrap()
}

fn count<K: Testable>(bench: &Bench<K>, engine: &Engine<K>, exits: &[(usize, i32, u64)]) -> u64 {
    let members = engine.chain(&bench.left(), XDP).unwrap().members.len();
    let layout = CounterLayout::new(SpliceHook::Xdp, members);
    let mut cells = vec![0_u64; layout.slots * layout.columns];
    for (slot, code, packets) in exits {
        cells[layout.cell(*slot, *code)] += packets;
    }
    let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_ne_bytes()).collect();
    let row = CounterLayout::row(key(bench).ifindex.0);
    let map = map(bench, engine);
    bench.kernel.write_per_cpu(&map, row, &bytes).unwrap();
    bench.kernel.read_per_cpu(&map, row).unwrap().len() as u64
}

fn key<K: Testable>(bench: &Bench<K>) -> bpfman_model::HookKey {
    bench.kernel.find_hook(&bench.left(), XDP).unwrap()
}

fn counters<K: Testable>(bench: &Bench<K>, engine: &Engine<K>) -> Option<ChainCounters> {
    engine.chain_counters(&key(bench)).unwrap()
}

fn runs<K: Testable>(bench: &Bench<K>, engine: &Engine<K>) -> (Vec<(LinkId, u64)>, u64) {
    let counted = counters(bench, engine).unwrap();
    (counted.links.iter().map(|link| (link.link, link.runs)).collect(), counted.all_proceeded)
}

fn counts_go_on_over_every_change<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let names = ["alpha", "bravo", "charlie"];
    let [alpha, bravo, charlie] = engine.loads(&bench.request("programs", &names))[..] else { panic!() };
    let [a, b] = [(alpha, 1), (bravo, 2)].map(|(program, at)| engine.attached(program, bench.xdp(at)));
    let cpus = count(bench, &engine, &[(0, DROP, 5), (1, DROP, 3), (2, PASS, 2)]);
    assert_eq!(runs(bench, &engine), (vec![(a, 10 * cpus), (b, 5 * cpus)], 2 * cpus));
    assert_eq!(counters(bench, &engine).unwrap().links[0].ended, [("drop", 5 * cpus)]);
    let c = engine.attached(charlie, bench.xdp(3));
    assert_eq!(runs(bench, &engine), (vec![(a, 10 * cpus), (b, 5 * cpus), (c, 0)], 2 * cpus));
    count(bench, &engine, &[(2, DROP, 4)]);
    let sums = (vec![(a, 14 * cpus), (b, 9 * cpus), (c, 4 * cpus)], 2 * cpus);
    assert_eq!(runs(bench, &engine), sums);
    drop(engine);
    let engine = bench.engine();
    assert_eq!(runs(bench, &engine), sums);
    engine.detach(b).unwrap();
    assert_eq!(runs(bench, &engine), (vec![(a, 14 * cpus), (c, 4 * cpus)], 2 * cpus));
    for on in [false, true] {
        let change = HookChange { counters: Some(on), ..HookChange::default() };
        assert!(engine.set_hook(&bench.left(), XDP, &change, &SwitchCaller::root("user 0")).unwrap());
        assert_eq!(counters(bench, &engine).is_some(), on);
    }
    assert_eq!(runs(bench, &engine), (vec![(a, 14 * cpus), (c, 4 * cpus)], 2 * cpus));
    let first = AttachPoint::clone(&bench.xdp(0));
    engine.detach(c).unwrap();
    let c = engine.attached(charlie, first);
    assert_eq!(runs(bench, &engine), (vec![(c, 0), (a, 14 * cpus)], 2 * cpus));
    assert!(bench.kernel.list_folder(Path::new("chains")).unwrap().len() == 1, "former chains are gone");
}

fn a_hook_that_comes_to_a_loaded_chain_begins_at_nothing<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let right = |priority| match bench.xdp(priority) {
        AttachPoint::Xdp { priority, proceed_on, .. } => {
            AttachPoint::Xdp { interface: bench.interface("right"), priority, proceed_on }
        }
        other => other,
    };
    let [a, b] = [(alpha, 1), (bravo, 2)].map(|(program, at)| engine.attached(program, bench.xdp(at)));
    for (program, at) in [(alpha, 1), (bravo, 2)] {
        engine.attached(program, right(at));
    }
    let cpus = count(bench, &engine, &[(0, DROP, 1)]);
    // The hook returns to the shared chain: its row has counts that were added already.
    engine.detach(b).unwrap();
    assert!(counters(bench, &engine).is_none(), "a lone member runs as it is");
    let b = engine.attached(bravo, bench.xdp(2));
    assert_eq!(runs(bench, &engine), (vec![(a, cpus), (b, 0)], 0));
    assert_eq!(engine.show_chain(&bench.left(), XDP).unwrap().hooks_sharing, 2);
}

crate::on_both_kernels!(
    counts_go_on_over_every_change,
    a_hook_that_comes_to_a_loaded_chain_begins_at_nothing,
);

#[test]
fn packets_are_counted_where_they_leave() {
    let bench = crate::linux::bench("packets_are_counted_where_they_leave");
    let engine = bench.engine();
    let [alpha, bravo, charlie] =
        engine.loads(&bench.request("programs", &["alpha", "bravo", "charlie"]))[..]
    else {
        panic!()
    };
    for (program, at) in [(alpha, 1), (bravo, 2)] {
        engine.attached(program, bench.xdp(at));
    }
    crate::linux::send_packets(&bench, 20);
    let seen = |least: u64| {
        let deadline = std::time::Instant::now() + crate::bench::TEST_TIMEOUT;
        loop {
            let (links, all) = runs(&bench, &engine);
            if links[0].1 >= least || std::time::Instant::now() > deadline {
                return (links, all);
            }
            std::thread::yield_now();
        }
    };
    let (links, all) = seen(20);
    assert!(links[0].1 >= 20, "{links:?}");
    assert!(links.iter().all(|(_, runs)| *runs == all), "everything passes: {links:?}, {all}");
    engine.attached(charlie, bench.xdp(3));
    let (after, all) = seen(20);
    assert!(after[0].1 >= links[0].1, "{after:?} after {links:?}");
    crate::linux::send_packets(&bench, 20);
    let (links, _) = seen(after[0].1 + 20);
    assert!(links[2].1 >= 20, "the third counts from its beginning: {links:?}");
    assert!(links[0].1 >= all + 20);
}
