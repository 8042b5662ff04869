//! Reused process ids, and kernel modules that are loaded again: a probe belongs to its original target.

use std::path::Path;

use bpfman_model::{AttachPoint, LinkId, PerfEventPlace, ProcessScope, ProgramType, Reason};
use bpfmand_engine::{Engine, HookCheck, Standing};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::{SimKernel, SimOptions};

use crate::bench::{Ask as _, Bench};
use crate::points::clock;
use crate::probed_files::probe;
use crate::simulated::bench;

fn of_process(bench: &Bench<SimKernel>, engine: &Engine<SimKernel>) -> Vec<LinkId> {
    let program = engine.loads(&bench.request("programs", &["probe"]))[0];
    let samples = engine.loads(&bench.request("points", &["samples"]))[0];
    let AttachPoint::PerfEvent { place } = clock(None) else { panic!("an event") };
    let pid = ProcessScope { pid: Some(7), container_pid: None };
    let container = ProcessScope { pid: None, container_pid: Some(7) };
    vec![
        engine.attached(program, probe("/usr/bin/app", pid)),
        engine.attached(program, probe("/usr/bin/app", container)),
        engine.attached(program, probe("/proc/7/exe", ProcessScope::default())),
        engine.attached(samples, AttachPoint::PerfEvent { place: PerfEventPlace { pid: Some(7), ..place } }),
    ]
}

#[test]
fn a_link_of_a_process_that_ended_is_of_no_other() {
    let bench = bench();
    let engine = bench.engine();
    let links = of_process(&bench, &engine);
    assert!(links.iter().all(|link| engine.check_link(*link).unwrap() == HookCheck::Right));
    let ended = Standing::Ended { pid: 7 };
    assert_eq!(ended.to_string(), "gone: process 7, which it was attached to, has ended");
    for begin in [false, true] {
        match begin {
            true => bench.kernel.begin_process(7),
            false => bench.kernel.end_process(7),
        }
        for link in &links {
            assert_eq!(engine.describe_link(*link).unwrap().standing, ended);
            assert_eq!(engine.check_link(*link).unwrap(), HookCheck::Lost(ended.clone()));
        }
    }
    drop(engine);
    // Without their pins, a start in the same boot would have to attach them again.
    for link in &links {
        bench.kernel.end_link(Path::new(&format!("links/{link}"))).unwrap();
    }
    let (engine, report) = bench.start();
    assert_eq!(report.problems.len(), links.len(), "{report:?}");
    assert_eq!(bench.kernel.snapshot().links.len(), 0);
    for link in links {
        assert_eq!(engine.describe_link(link).unwrap().standing, ended);
        engine.check_link(link).unwrap();
        assert_eq!(bench.kernel.snapshot().links.len(), 0);
        engine.detach(link).unwrap();
    }
}

#[test]
fn a_link_of_a_process_is_left_alone_after_a_reboot() {
    let bench = bench();
    let links = of_process(&bench, &bench.engine());
    bench.kernel.reboot();
    bench.kernel.begin_process(7);
    let (engine, report) = bench.start();
    assert_eq!(report.problems.len(), links.len(), "{report:?}");
    for link in links {
        let HookCheck::Lost(found) = engine.check_link(link).unwrap() else { panic!("it is not back") };
        assert_eq!(found, Standing::Ended { pid: 7 });
        assert_eq!(engine.describe_link(link).unwrap().standing, found);
    }
    assert_eq!(bench.kernel.snapshot().links.len(), 0);
}

#[test]
fn a_link_of_a_living_process_comes_back() {
    let bench = bench();
    let links = of_process(&bench, &bench.engine());
    for link in &links {
        bench.kernel.end_link(Path::new(&format!("links/{link}"))).unwrap();
    }
    let (engine, report) = bench.start();
    assert_eq!((report.reattached, report.problems), (links.len(), Vec::new()));
    assert!(links.iter().all(|link| engine.describe_link(*link).unwrap().standing.is_running()));
}

#[test]
fn kprobe_multi_of_a_module_names_the_kernel_that_has_it() {
    for (options, is_refused) in [(SimOptions::linux_6_1(), true), (SimOptions::default(), false)] {
        let bench = crate::simulated::bench_of(options);
        bench.kernel.load_module("dummy", &["dummy_xmit"]);
        let engine = bench.engine();
        let program = engine.loads(&bench.request("points", &["many_entries"]))[0];
        let at = |names: &[&str]| AttachPoint::KprobeMulti {
            functions: names.iter().map(|name| name.parse().unwrap()).collect(),
        };
        engine.attached(program, at(&["do_nothing"]));
        let attached = engine.try_attach(program, at(&["do_nothing", "dummy_xmit"]));
        assert_eq!(attached.is_err(), is_refused);
        if let Err(error) = attached {
            assert_eq!(error.kind(), Reason::Unsupported);
            let words = ["dummy_xmit", "since Linux 6.2, and this is 6.1.0-sim", "module dummy"];
            assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
            assert_eq!(engine.all_links().len(), 1);
        }
    }
}

#[test]
fn a_probe_of_a_module_follows_it() {
    let bench = bench();
    bench.kernel.load_module("dummy", &["dummy_xmit"]);
    let engine = bench.engine();
    let mut request = bench.request("fallbacks", &["probes_kernel"]);
    request.programs[0].program_type = ProgramType::Kprobe;
    let program = engine.loads(&request)[0];
    let at = |function: &str| AttachPoint::Kprobe { function: function.to_owned(), offset: 0 };
    let own = engine.attached(program, at("do_nothing"));
    let link = engine.attached(program, at("dummy_xmit"));
    let before = engine.describe_link(link).unwrap().kernel_link;
    for _ in 0..2 {
        bench.kernel.unload_module("dummy");
        let gone = Standing::ModuleGone { name: "dummy".to_owned() };
        let says = "waiting: kernel module dummy is not loaded, and it is attached again when the module is";
        assert_eq!(gone.to_string(), says);
        assert_eq!(engine.describe_link(link).unwrap().standing, gone);
        assert_eq!(engine.check_link(link).unwrap(), HookCheck::Lost(gone));
        bench.kernel.load_module("dummy", &["dummy_xmit"]);
        let dead = engine.describe_link(link).unwrap().standing;
        assert!(dead.to_string().contains("was loaded again"), "{dead}");
        assert_eq!(engine.check_link(link).unwrap(), HookCheck::Mended(dead));
        assert_eq!(engine.describe_link(link).unwrap().standing, Standing::Running);
        assert_eq!(engine.check_link(link).unwrap(), HookCheck::Right);
        assert_eq!(bench.kernel.snapshot().links.len(), 2, "the dead one has ended");
    }
    assert_ne!(engine.describe_link(link).unwrap().kernel_link, before);
    assert_eq!(engine.check_link(own).unwrap(), HookCheck::Right);
}
