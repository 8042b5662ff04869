//! CPU time of members, measured by the timed twin of their chain.

use std::path::{Path, PathBuf};
use std::time::Instant;

use bpfman_model::{AttachPoint, HookKind, ProceedOn, VerdictFamily};
use bpfmand_engine::{ChainDetails, Engine, HookChange, Measurement, MemberTime, SwitchCaller};
use bpfmand_kernel::Kernel;
use bpfmand_kernel::prelude::*;
use bpfmand_splice::{CounterLayout, TimeLayout};

use crate::bench::{Ask as _, Bench, Testable, pins};

const XDP: HookKind = HookKind::Xdp;

fn switch<K: Kernel>(bench: &Bench<K>, engine: &Engine<K>, on: bool) -> bool {
    let change = HookChange { timing: Some(on), ..HookChange::default() };
    engine.set_hook(&bench.left(), XDP, &change, &SwitchCaller::root("user 0")).unwrap()
}

fn view<K: Kernel>(bench: &Bench<K>, engine: &Engine<K>) -> ChainDetails {
    engine.show_chain(&bench.left(), XDP).unwrap()
}

fn times<K: Kernel>(bench: &Bench<K>, engine: &Engine<K>) -> Vec<Option<MemberTime>> {
    view(bench, engine).members.iter().map(|member| member.time).collect()
}

fn pinned<K: Kernel>(bench: &Bench<K>) -> Vec<String> {
    let name = |pin: String| PathBuf::from(pin).file_name().unwrap().to_str().unwrap().to_owned();
    pins(&*bench.kernel, Path::new("chains")).into_iter().map(name).collect()
}

fn write<K: Kernel>(bench: &Bench<K>, members: usize, cells: &[u64]) -> u64 {
    let pins = pins(&*bench.kernel, Path::new("chains"));
    let pin = pins.iter().find(|pin| pin.ends_with("/times")).unwrap();
    let map = bench.kernel.open_pin(Path::new(pin)).unwrap().unwrap();
    let mut row: Vec<u8> = cells.iter().flat_map(|cell| cell.to_ne_bytes()).collect();
    row.resize(TimeLayout::new(members).value_size(), 0);
    let number = CounterLayout::row(bench.kernel.find_hook(&bench.left(), XDP).unwrap().ifindex.0);
    bench.kernel.write_per_cpu(&map, number, &row).unwrap();
    bench.kernel.read_per_cpu(&map, number).unwrap().len() as u64
}

fn timing_is_switched_on_and_off_with_its_twin<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo, charlie] =
        engine.loads(&bench.request("programs", &["alpha", "bravo", "charlie"]))[..]
    else {
        panic!()
    };
    for (program, at) in [(alpha, 1), (bravo, 2)] {
        engine.attached(program, bench.xdp(at));
    }
    assert_eq!(times(bench, &engine), [None, None]);
    let without = pinned(bench);
    assert!(switch(bench, &engine, true));
    assert!(!switch(bench, &engine, true), "it is on already");
    assert!(view(bench, &engine).switches.timing);
    assert_eq!(times(bench, &engine), [Some(MemberTime::default()); 2]);
    assert_eq!(pinned(bench), ["array_0", "counters", "program_0", "ticks", "times", "twin_0"]);
    let verified = engine.verify_chain(&bench.left(), XDP, None).unwrap();
    assert!(verified.matches(), "{verified:#?}");
    assert!(verified.parts.iter().any(|part| part.part == "timed twin 1 of 1"), "{verified:#?}");

    let cpus = write(bench, 2, &[4, 400, 2, 1200, 4, 160]);
    let [first, second] = times(bench, &engine)[..] else { panic!() };
    assert_eq!(first.unwrap().samples, 4 * cpus);
    assert_eq!(first.unwrap().nanoseconds_per_run(), Some(60.0), "100 with the clock's 40");
    assert_eq!(second.unwrap().nanoseconds_per_run(), Some(560.0));

    // The switch belongs to the hook and stays over changes. A new chain starts at 0.
    let third = engine.attached(charlie, bench.xdp(3));
    assert_eq!(times(bench, &engine), [Some(MemberTime::default()); 3]);
    drop(engine);
    let engine = bench.engine();
    assert_eq!(times(bench, &engine), [Some(MemberTime::default()); 3]);
    engine.detach(third).unwrap();
    engine.unload(bravo).unwrap();
    assert_eq!(times(bench, &engine), [Some(MemberTime::default())]);

    assert!(switch(bench, &engine, false));
    assert_eq!(times(bench, &engine), [None]);
    assert_eq!(view(bench, &engine).strategy, "direct");
    engine.attached(charlie, bench.xdp(3));
    assert_eq!(pinned(bench), without);
}

fn hooks_that_share_a_timed_chain_have_times_of_their_own<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let right = |priority| AttachPoint::Xdp {
        interface: bench.interface("right"),
        priority,
        proceed_on: ProceedOn::default_for(VerdictFamily::Xdp),
    };
    for (program, at) in [(alpha, 1), (bravo, 2)] {
        engine.attached(program, bench.xdp(at));
        engine.attached(program, right(at));
    }
    assert!(switch(bench, &engine, true));
    assert_eq!(view(bench, &engine).hooks_sharing, 1, "the other hook is not timed");
    let change = HookChange { timing: Some(true), ..HookChange::default() };
    assert!(engine.set_hook(&bench.interface("right"), XDP, &change, &SwitchCaller::root("user 0")).unwrap());
    assert_eq!(view(bench, &engine).hooks_sharing, 2);
    write(bench, 2, &[1, 100, 1, 100, 1, 40]);
    assert!(times(bench, &engine).iter().all(|time| time.unwrap().samples > 0));
    let other = engine.show_chain(&bench.interface("right"), XDP).unwrap();
    assert!(other.members.iter().all(|member| member.time == Some(MemberTime::default())));
}

fn a_timed_chain_whose_twin_lost_its_pin_is_mended<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    for (at, program) in engine.loads(&bench.request("programs", &["alpha", "bravo"])).into_iter().enumerate()
    {
        engine.attached(program, bench.xdp(at as i32));
    }
    assert!(switch(bench, &engine, true));
    let all = pinned(bench);
    for lost in ["twin_0", "ticks", "times"] {
        let pin = pins(&*bench.kernel, Path::new("chains")).into_iter().find(|pin| pin.ends_with(lost));
        bench.kernel.unpin(Path::new(&pin.unwrap())).unwrap();
        let key = bench.kernel.find_hook(&bench.left(), XDP).unwrap();
        let checked = engine.check_hook(&key).unwrap();
        assert!(matches!(checked, bpfmand_engine::HookCheck::Mended(_)), "{lost}: {checked:?}");
        assert_eq!(pinned(bench), all);
        assert_eq!(times(bench, &engine), [Some(MemberTime::default()); 2]);
    }
}

fn clients_have_members_timed_as_long_as_one_of_them_is_there<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    engine.attached(alpha, bench.xdp(1));
    let begin = |engine: &Engine<K>| {
        engine.begin_client_measurement(Measurement::Times, &bench.left(), XDP, None).unwrap()
    };
    let key = begin(&engine);
    assert_eq!(times(bench, &engine), [Some(MemberTime::default())]);
    engine.end_client_measurement(Measurement::Times, &key, true).unwrap();
    assert_eq!((times(bench, &engine), view(bench, &engine).strategy), (vec![None], "direct"));

    let second = engine.attached(bravo, bench.xdp(2));
    let without = pinned(bench);
    let key = begin(&engine);
    assert_eq!(begin(&engine), key);
    assert!(!view(bench, &engine).switches.timing, "nobody switched it on");
    engine.end_client_measurement(Measurement::Times, &key, true).unwrap();
    engine.detach(second).unwrap();
    engine.attached(bravo, bench.xdp(2));
    assert!(!switch(bench, &engine, false), "it was off");
    assert_eq!(times(bench, &engine), [Some(MemberTime::default()); 2]);
    engine.end_client_measurement(Measurement::Times, &key, true).unwrap();
    assert_eq!(times(bench, &engine), [None; 2]);
    assert_eq!(pinned(bench), without);

    let key = begin(&engine);
    assert!(switch(bench, &engine, true));
    engine.end_client_measurement(Measurement::Times, &key, true).unwrap();
    assert_eq!(times(bench, &engine), [Some(MemberTime::default()); 2]);
    assert!(switch(bench, &engine, false));

    // If no chain may be built, timing stays until one is built, or until the daemon restarts.
    let key = begin(&engine);
    engine.end_client_measurement(Measurement::Times, &key, false).unwrap();
    assert_eq!(times(bench, &engine), [Some(MemberTime::default()); 2]);
    let _ends = begin(&engine);
    drop(engine);
    let engine = bench.engine();
    assert_eq!(times(bench, &engine), [None; 2]);
    assert_eq!(pinned(bench), without);
}

fn lone_member_is_counted_while_a_client_watches<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    engine.attached(alpha, bench.xdp(1));
    let strategy = |engine: &Engine<K>| view(bench, engine).strategy;
    let begin =
        |engine: &Engine<K>, of| engine.begin_client_measurement(of, &bench.left(), XDP, None).unwrap();
    assert_eq!((strategy(&engine), view(bench, &engine).switches.counters), ("direct", false));
    let key = begin(&engine, Measurement::Verdicts);
    let _same = begin(&engine, Measurement::Times);
    assert!(view(bench, &engine).switches.counters && times(bench, &engine) != [None]);
    engine.end_client_measurement(Measurement::Times, &key, true).unwrap();
    assert!(view(bench, &engine).switches.counters && times(bench, &engine) == [None]);
    engine.end_client_measurement(Measurement::Verdicts, &key, true).unwrap();
    assert_eq!((strategy(&engine), view(bench, &engine).switches.counters), ("direct", false));
    // A client that is connected to a daemon that is killed leaves nothing.
    let _never_ended = begin(&engine, Measurement::Verdicts);
    drop(engine);
    let engine = bench.engine();
    assert_eq!((strategy(&engine), view(bench, &engine).switches.counters), ("direct", false));
    // The switch of the hook is independent of clients.
    let change = HookChange { counters: Some(true), ..HookChange::default() };
    assert!(engine.set_hook(&bench.left(), XDP, &change, &SwitchCaller::root("user 0")).unwrap());
    let key = begin(&engine, Measurement::Verdicts);
    engine.end_client_measurement(Measurement::Verdicts, &key, true).unwrap();
    assert!(view(bench, &engine).switches.counters);
}

fn a_frozen_chain_is_not_changed_for_a_client<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha] = engine.loads(&bench.request("programs", &["alpha"]))[..] else { panic!() };
    assert!(
        engine.begin_client_measurement(Measurement::Times, &bench.left(), XDP, None).is_err(),
        "no program is there"
    );
    engine.attached(alpha, bench.xdp(1));
    let hold = HookChange { held: Some(true), ..HookChange::default() };
    assert!(engine.set_hook(&bench.left(), XDP, &hold, &SwitchCaller::root("user 0")).unwrap());
    let refused = engine.begin_client_measurement(Measurement::Times, &bench.left(), XDP, None).unwrap_err();
    assert!(refused.to_string().contains("user 0"), "{refused}");
    assert_eq!(times(bench, &engine), [None]);
    let release = HookChange { held: Some(false), ..HookChange::default() };
    assert!(engine.set_hook(&bench.left(), XDP, &release, &SwitchCaller::root("user 0")).unwrap());
    assert_eq!(times(bench, &engine), [None], "who was refused has left nothing");
}

crate::on_both_kernels!(
    clients_have_members_timed_as_long_as_one_of_them_is_there,
    lone_member_is_counted_while_a_client_watches,
    a_frozen_chain_is_not_changed_for_a_client,
    timing_is_switched_on_and_off_with_its_twin,
    hooks_that_share_a_timed_chain_have_times_of_their_own,
    a_timed_chain_whose_twin_lost_its_pin_is_mended,
);

#[test]
fn a_slow_member_shows_more_time_than_a_trivial_one() {
    const BATCH: usize = 5_000;
    const SAMPLES: u64 = 40;
    let bench = crate::linux::bench("a_slow_member_shows_more_time_than_a_trivial_one");
    let engine = bench.engine();
    let programs = &engine.loads(&bench.request("timed", &["trivial", "slow", "brief"]))[..];
    let [trivial, slow, brief] = programs else { panic!() };
    for (program, at) in [(trivial, 1), (slow, 2), (brief, 3), (trivial, 4)] {
        engine.attached(*program, bench.xdp(at));
    }
    assert!(switch(&bench, &engine, true));
    // One packet in 1,024 is timed, and a busy machine loses some.
    let deadline = Instant::now() + crate::bench::TEST_TIMEOUT;
    let mut all: Vec<MemberTime> = Vec::new();
    while all.is_empty() || all.iter().any(|time| time.samples < SAMPLES) {
        assert!(Instant::now() < deadline, "fewer than {SAMPLES} samples: {all:?}");
        crate::linux::send_packets(&bench, BATCH);
        all = times(&bench, &engine).into_iter().map(Option::unwrap).collect();
    }
    let [first, slow, brief, last] = all[..] else { panic!() };
    let mean = |time: MemberTime| time.nanoseconds_per_run().unwrap();
    // Includes the overhead of an empty test run.
    let alone: Vec<u32> = programs
        .iter()
        .map(|program| {
            let program = bench.kernel.open_program(*program).unwrap().unwrap();
            bpfmand_kernel::linux::test_run(&program, &[0; 64], 100_000).unwrap().nanoseconds
        })
        .collect();
    println!(
        "trivial {:.1} ns, slow {:.1} ns, brief {:.1} ns, trivial {:.1} ns; trivial, slow and brief alone: {alone:?} ns",
        mean(first),
        mean(slow),
        mean(brief),
        mean(last)
    );
    assert!(mean(slow) > mean(brief) && mean(slow) > mean(first) && mean(slow) > mean(last), "{all:?}");
    assert!(first.clock_samples >= SAMPLES && first.clock_nanoseconds > 0, "{first:?}");
    assert!(switch(&bench, &engine, false));
    assert_eq!(times(&bench, &engine), [None; 4]);
}

/// A measurement in a tight loop: `cargo nextest run -p bpfmand-engine --run-ignored only --no-capture`.
#[test]
#[ignore = "a measurement"]
fn times_of_a_tight_loop() {
    const RUNS: u32 = 5_000_000;
    /// Test runs count in the row of the loopback interface.
    const LOOPBACK: u32 = 1;
    let bench = crate::linux::bench("times_of_a_tight_loop");
    let engine = bench.engine();
    let programs = &engine.loads(&bench.request("timed", &["trivial", "brief"]))[..];
    let [trivial, brief] = programs else { panic!() };
    for (program, at) in [(trivial, 1), (brief, 2), (trivial, 3), (brief, 4)] {
        engine.attached(*program, bench.xdp(at));
    }
    assert!(switch(&bench, &engine, true));
    let run = |id| {
        let program = bench.kernel.open_program(id).unwrap().unwrap();
        bpfmand_kernel::linux::test_run(&program, &[0; 64], RUNS).unwrap().nanoseconds
    };
    let chain = run(engine.chain(&bench.left(), XDP).unwrap().entry.unwrap().id);
    let pins = pins(&*bench.kernel, Path::new("chains"));
    let pin = pins.iter().find(|pin| pin.ends_with("/times")).unwrap();
    let map = bench.kernel.open_pin(Path::new(pin)).unwrap().unwrap();
    let mut cells = [0_u64; 10];
    for row in bench.kernel.read_per_cpu(&map, CounterLayout::row(LOOPBACK)).unwrap() {
        for (cell, bytes) in cells.iter_mut().zip(row.chunks_exact(8)) {
            *cell += u64::from_ne_bytes(bytes.try_into().unwrap());
        }
    }
    let means: Vec<f64> = cells.chunks_exact(2).map(|pair| pair[1] as f64 / pair[0] as f64).collect();
    let [members @ .., clock] = &means[..] else { panic!() };
    let own: Vec<String> = members.iter().map(|mean| format!("{:.1}", mean - clock)).collect();
    println!(
        "by the twin, {} samples: {own:?} ns (clock {clock:.1}); alone {:?} ns, with a test run of nothing; the chain {chain} ns",
        cells[0],
        programs.iter().map(|id| run(*id)).collect::<Vec<_>>()
    );
    assert!(cells[0] > 1000, "{cells:?}");
}
