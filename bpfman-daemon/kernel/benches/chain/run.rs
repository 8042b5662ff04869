use std::path::Path;
use std::time::Instant;

use bpfmand_object::ObjectFile;

use crate::designs::{MeasuredProgram, Ours, ours, remade, single, tail_calls};
use crate::kernel::{self, ProgramKind};
use crate::live::VethPair;
use crate::objects::{self, compile_file, compile_text};
use crate::parsers::{self, Folded, SwitchedOn};
use crate::results::Case;
use crate::sources;

const MEMBERS: [usize; 6] = [1, 2, 5, 10, 20, 32];
const SLOTS: usize = 10;
const TAIL_CALLS: usize = 32;

fn setting(name: &str, otherwise: u32) -> u32 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

fn wanted(group: &str) -> bool {
    std::env::var("BENCH_GROUPS").map_or(true, |groups| groups.split(',').any(|one| one == group))
}

enum Measured {
    Alone(Box<MeasuredProgram>, Vec<u8>),
    Live(ProgramKind, Vec<MeasuredProgram>),
}

struct Bench {
    cases: Vec<(Case, Measured)>,
}

impl Bench {
    fn add(&mut self, group: &str, design: &str, members: usize, measured: Measured) {
        let (group, design) = (group.to_owned(), design.to_owned());
        self.cases.push((Case { group, design, members, samples: Vec::new() }, measured));
    }
}

pub fn all() -> Vec<Case> {
    let mut bench = Bench { cases: Vec::new() };
    if wanted("trivial") {
        trivial(&mut bench, ProgramKind::Xdp, "XDP, test-run");
        trivial(&mut bench, ProgramKind::Tcx, "TC, test-run");
    }
    if wanted("real") {
        real(&mut bench);
    }
    if wanted("parsers") {
        parsers(&mut bench);
    }
    if wanted("live") {
        live(&mut bench, ProgramKind::Xdp, "XDP, real packets");
        live(&mut bench, ProgramKind::Tcx, "TC, real packets");
    }
    let mut cases = rounds(bench.cases);
    if wanted("making") {
        cases.extend(making());
    }
    cases
}

/// Measures splicing and loading a chain, and attaching it in place of another chain.
fn making() -> Vec<Case> {
    let kind = ProgramKind::Xdp;
    let members = compile_text(&sources::members(kind));
    let hook = kernel::interface("vb");
    let mut cases = Vec::new();
    for count in MEMBERS {
        let programs = vec![(&members, "member"); count];
        let (mut made, mut swapped) = (Vec::new(), Vec::new());
        let first = ours(kind, &programs, Ours::COUNTED);
        let link = kernel::attach_xdp(&first.program, hook, kernel::XdpMode::Native).expect("it attaches");
        for _ in 0..8 {
            let (entry, took) = remade(kind, &programs, Ours::COUNTED);
            made.push(took.as_nanos() as f64);
            let start = Instant::now();
            kernel::replace(&link, &entry.program).expect("it can be swapped");
            swapped.push(start.elapsed().as_nanos() as f64);
        }
        for (design, samples) in
            [("plan, compile, load, verify (CPU)", made), ("swap on an idle hook (wall)", swapped)]
        {
            let group = "making an XDP chain".to_owned();
            cases.push(Case { group, design: design.to_owned(), members: count, samples });
        }
    }
    for count in [2, 10, 20] {
        let objects: Vec<ObjectFile> =
            (0..count).map(|number| compile_text(&parsers::member(number, SwitchedOn::All))).collect();
        let members: Vec<(&ObjectFile, &str)> = objects.iter().map(|object| (object, "filter")).collect();
        let designs = [("chain (CPU)", Ours::PLAIN), ("headers shared (CPU)", Ours::SHARED)];
        let mut samples = designs.map(|_| Vec::new());
        for _ in 0..32 {
            for ((_, how), samples) in designs.iter().zip(&mut samples) {
                samples.push(remade(kind, &members, *how).1.as_nanos() as f64);
            }
        }
        for ((design, _), samples) in designs.into_iter().zip(samples) {
            let group = "making an XDP chain of members that parse".to_owned();
            cases.push(Case { group, design: design.to_owned(), members: count, samples });
        }
    }
    cases
}

fn trivial(bench: &mut Bench, kind: ProgramKind, group: &str) {
    let packet = vec![0_u8; 64];
    let members = compile_text(&sources::members(kind));
    let mut add = |design: &str, count: usize, entry: MeasuredProgram| {
        bench.add(group, design, count, Measured::Alone(Box::new(entry), packet.clone()));
    };
    add("nothing", 0, single(kind, &sources::members(kind), "empty"));
    add("attached by hand", 1, single(kind, &sources::members(kind), "member"));
    for count in MEMBERS {
        let known = vec![(&members, "member"); count];
        let unknown = vec![(&members, "unknown"); count];
        add(
            "merged by hand (the limit)",
            count,
            single(kind, &sources::merged(kind, count, false), "merged"),
        );
        add("chain", count, ours(kind, &known, Ours::PLAIN));
        add("chain, counters", count, ours(kind, &known, Ours::COUNTED));
        add("chain, unknown verdicts", count, ours(kind, &unknown, Ours::PLAIN));
        add("chain, unknown verdicts, counters", count, ours(kind, &unknown, Ours::COUNTED));
        add("chain, counters and timed twin", count, ours(kind, &known, Ours::TIMED));
        add("chain, every member behind a call", count, ours(kind, &known, Ours::CALLS));
        if count <= SLOTS {
            let source = sources::dispatcher(kind, count, false);
            add("dispatcher (emulated)", count, single(kind, &source, "dispatcher"));
        }
        if count <= TAIL_CALLS {
            add("tail calls", count, tail_calls(kind, count, false));
        }
    }
}

fn example(name: &str) -> ObjectFile {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    compile_file(&folder.join(name))
}

fn datagram() -> Vec<u8> {
    let mut packet = vec![0_u8; 64];
    packet[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
    packet[16..18].copy_from_slice(&50_u16.to_be_bytes());
    packet[23] = 17;
    packet[26..34].copy_from_slice(&[192, 0, 2, 1, 192, 0, 2, 2]);
    packet[36..40].copy_from_slice(&[0x10, 0x92, 0, 30]);
    packet
}

fn parsers(bench: &mut Bench) {
    let kind = ProgramKind::Xdp;
    for (on, group) in [
        (SwitchedOn::All, "XDP, members that parse, test-run"),
        (SwitchedOn::Half, "XDP, the same, every second switched off"),
    ] {
        parsers_of(bench, kind, on, group);
    }
}

fn parsers_of(bench: &mut Bench, kind: ProgramKind, on: SwitchedOn, group: &str) {
    let empty = single(kind, &sources::members(kind), "empty");
    bench.add(group, "nothing", 0, Measured::Alone(Box::new(empty), datagram()));
    for count in [2, 5, 10, 20] {
        let objects: Vec<ObjectFile> =
            (0..count).map(|number| compile_text(&parsers::member(number, on))).collect();
        let members: Vec<(&ObjectFile, &str)> = objects.iter().map(|object| (object, "filter")).collect();
        let mut add = |design: &str, entry: MeasuredProgram| {
            bench.add(group, design, count, Measured::Alone(Box::new(entry), datagram()));
        };
        add("chain", ours(kind, &members, Ours::PLAIN));
        add("chain, headers shared", ours(kind, &members, Ours::SHARED));
        add("chain, members as loaded", ours(kind, &members, Ours::AS_LOADED));
        for (design, folded) in Folded::ALL {
            add(design, single(kind, &parsers::merged(count, on, folded), "merged"));
        }
    }
}

fn real(bench: &mut Bench) {
    let group = "XDP, real members, test-run";
    let kind = ProgramKind::Xdp;
    let packet = datagram();
    let mut programs: Vec<(String, ObjectFile, String)> = [
        ("firewall", "xdp-firewall/xdp_firewall.bpf.c"),
        ("counter", "xdp-counter/xdp_counter.bpf.c"),
        ("sampler", "demo/packet_sizes.bpf.c"),
    ]
    .into_iter()
    .map(|(name, file)| {
        let object = example(file);
        let program = object.programs()[0].name.clone();
        (name.to_owned(), object, program)
    })
    .collect();
    let filters = objects::installed();
    let allows = filters.into_iter().find(|(name, _)| name == "xdpfilt_alw_udp.o");
    if let Some((_, object)) = allows {
        let program = object.programs()[0].name.clone();
        programs.push(("xdp-filter".to_owned(), object, program));
    } else {
        println!("skipped: xdp-filter: xdp-tools is not installed");
    }
    let empty = single(kind, &sources::members(kind), "empty");
    bench.add(group, "nothing", 0, Measured::Alone(Box::new(empty), packet.clone()));
    for (name, object, program) in &programs {
        let alone = ours(kind, &[(object, program)], Ours::PLAIN);
        bench.add(group, &format!("{name} alone"), 1, Measured::Alone(Box::new(alone), packet.clone()));
        for (design, how) in [
            ("chain", Ours::PLAIN),
            ("headers shared", Ours::SHARED),
            ("members as loaded", Ours::AS_LOADED),
            ("behind calls", Ours::CALLS),
        ] {
            let chain = ours(kind, &vec![(object, program.as_str()); 10], how);
            bench.add(
                group,
                &format!("ten {name}, {design}"),
                10,
                Measured::Alone(Box::new(chain), packet.clone()),
            );
        }
    }
    let mixed: Vec<(&ObjectFile, &str)> =
        programs.iter().cycle().take(10).map(|(_, object, program)| (object, program.as_str())).collect();
    for (design, how) in [
        ("chain", Ours::PLAIN),
        ("headers shared", Ours::SHARED),
        ("members as loaded", Ours::AS_LOADED),
        ("chain, counters", Ours::COUNTED),
        ("behind calls", Ours::CALLS),
    ] {
        let chain = ours(kind, &mixed, how);
        bench.add(
            group,
            &format!("ten mixed, {design}"),
            10,
            Measured::Alone(Box::new(chain), packet.clone()),
        );
    }
}

/// Measures chains on real packets. Each ends with a program that drops, which alone is the case without members.
fn live(bench: &mut Bench, kind: ProgramKind, group: &str) {
    let source = sources::members(kind);
    let members = compile_text(&source);
    let chain = |count: usize, how: Ours| {
        let mut programs = vec![(&members, "member"); count];
        programs.push((&members, "dropper"));
        ours(kind, &programs, how)
    };
    let mut add = |design: &str, count: usize, kind: ProgramKind, entries: Vec<MeasuredProgram>| {
        bench.add(group, design, count, Measured::Live(kind, entries));
    };
    add("nothing but the drop", 0, kind, vec![single(kind, &source, "dropper")]);
    for count in MEMBERS.into_iter().filter(|count| *count < 32) {
        let merged = single(kind, &sources::merged(kind, count + 1, true), "merged");
        add("merged by hand (the limit)", count, kind, vec![merged]);
        add("chain", count, kind, vec![chain(count, Ours::PLAIN)]);
        add("chain, counters", count, kind, vec![chain(count, Ours::COUNTED)]);
        if count < SLOTS {
            let source = sources::dispatcher(kind, count + 1, true);
            add("dispatcher (emulated)", count, kind, vec![single(kind, &source, "dispatcher")]);
        }
        add("tail calls", count, kind, vec![tail_calls(kind, count + 1, true)]);
        if kind != ProgramKind::Xdp {
            for (design, kind) in [("tcx links", ProgramKind::Tcx), ("clsact filters", ProgramKind::Clsact)] {
                let mut each: Vec<MeasuredProgram> =
                    (0..count).map(|_| single(kind, &source, "member")).collect();
                each.push(single(kind, &source, "dropper"));
                add(design, count, kind, each);
            }
        }
    }
}

fn rounds(mut cases: Vec<(Case, Measured)>) -> Vec<Case> {
    let (rounds, repeats) = (setting("BENCH_ROUNDS", 8), setting("BENCH_REPEATS", 2_000_000));
    let network = VethPair::new();
    for round in 1..=rounds {
        let start = Instant::now();
        for (case, measured) in &mut cases {
            let sample = match measured {
                Measured::Alone(entry, packet) => {
                    // CPU time: the kernel's result, in whole nanoseconds per run, is too coarse, and its wait for a
                    // grace period takes no CPU time.
                    let start = kernel::thread_cpu_time();
                    kernel::repeat(&entry.program, packet, repeats).expect("test-run");
                    (kernel::thread_cpu_time() - start).as_nanos() as f64 / f64::from(repeats)
                }
                Measured::Live(kind, entries) => {
                    let programs: Vec<_> = entries.iter().map(|entry| &entry.program).collect();
                    let _attached = network.attach_all(*kind, &programs);
                    let counted = || entries.iter().map(MeasuredProgram::counted).sum::<u64>();
                    let before = counted();
                    let (sample, frames) = network.sample();
                    let (counted, each) = (counted() - before, case.members as u64 + 1);
                    let (name, count) = (&case.design, case.members);
                    assert!(
                        counted >= frames * each,
                        "{name}, {count}: {counted} runs of members for {frames} frames"
                    );
                    sample
                }
            };
            case.samples.push(sample);
        }
        println!("round {round} of {rounds}: {} s", start.elapsed().as_secs());
    }
    cases.into_iter().map(|(case, _)| case).collect()
}
