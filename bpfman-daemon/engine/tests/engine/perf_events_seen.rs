//! Perf events on this machine's kernel run their program on each CPU, or for one thread.

use std::io::{BufRead as _, Write as _};
use std::process::Command;

use bpfman_model::{AttachPoint, PerfEventPlace, Reason, SampleRate};
use bpfmand_engine::EngineError;
use bpfmand_kernel::KernelError;
use bpfmand_kernel::prelude::*;

use crate::bench::Ask as _;
use crate::linux::bench;
use crate::points_seen::{Deed, assert_seen, python, samples, wait_until};

fn perf_event(event: &str, rate: SampleRate, cpu: Option<u32>, pid: Option<u32>) -> AttachPoint {
    AttachPoint::PerfEvent { place: PerfEventPlace { event: event.parse().unwrap(), rate, cpu, pid } }
}

/// The clock ticks on every CPU, whatever runs there.
#[test]
fn linux_perf_events_are_sampled_on_all_cpus_or_on_one() {
    let bench = bench("clock");
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["samples"]))[0];
    let cpus = bench.kernel.online_cpus().unwrap();
    let counts = || samples(&bench.kernel, &engine, program);
    for rate in [SampleRate::Frequency(99), SampleRate::Period(5_000_000)] {
        let before = counts();
        let link = engine.attached(program, perf_event("cpu-clock", rate, None, None));
        let all = || (0..8).all(|cpu| !cpus.contains(&(cpu as u32)) || counts()[cpu] > before[cpu] + 3);
        assert!(wait_until(all), "not on every CPU: {:?}", counts());
        engine.detach(link).unwrap();
        let after = counts();
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!(counts(), after, "it runs though it is detached");
    }
    let last = *cpus.last().unwrap();
    let before = counts();
    engine.attached(program, perf_event("cpu-clock", SampleRate::Frequency(99), Some(last), None));
    let slot = (last & 7) as usize;
    assert!(wait_until(|| counts()[slot] > before[slot] + 3));
    let others =
        |counts: Vec<u64>| counts.into_iter().enumerate().filter(|(cpu, _)| *cpu != slot).collect::<Vec<_>>();
    assert_eq!(others(counts()), others(before), "it ran on other CPUs");
}

#[test]
fn linux_perf_events_of_a_thread_are_its_own() {
    let bench = bench("thread");
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["samples"]))[0];
    let total = || samples(&bench.kernel, &engine, program).iter().sum::<u64>();
    let mut child = Command::new("/bin/sh")
        .args(["-c", "echo ready; read line; /usr/bin/python3 -c pass; read line"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let faults = perf_event("page-faults", SampleRate::Period(1), None, Some(child.id()));
    let link = engine.attached(program, faults);
    std::thread::sleep(std::time::Duration::from_millis(50));
    let before = total();
    python(&bench.netns, None, "bytearray(1 << 20)");
    assert_eq!(total(), before, "faults of others count");
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"\n").unwrap();
    assert!(wait_until(|| total() > 300), "those of what it starts do not count: {}", total());
    drop(input);
    child.wait().unwrap();
    engine.detach(link).unwrap();
    let gone = perf_event("page-faults", SampleRate::Period(1), None, Some(child.id()));
    let error = engine.try_attach(program, gone).unwrap_err();
    assert_eq!(error.kind(), Reason::NotFound, "{error}");
    assert!(error.to_string().contains(&child.id().to_string()), "{error}");
    assert_eq!(engine.all_links().len(), 0);
}

#[test]
fn linux_perf_events_of_the_kernel_count() {
    let bench = bench("software");
    for event in ["task-clock", "page-faults", "context-switches"] {
        let rate = if event == "task-clock" { SampleRate::Frequency(999) } else { SampleRate::Period(1) };
        let lines = "import time\ntime.sleep(0.01)\nsum(range(1000000))\nbytearray(1 << 20)";
        let deed = Deed { lines, without: "done", with: "done" };
        assert_seen(&bench, "samples", None, perf_event(event, rate, None, None), &deed);
    }
}

#[test]
fn linux_perf_events_of_the_cpu_count_where_it_has_them() {
    let bench = bench("hardware");
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["samples"]))[0];
    for event in ["cycles", "instructions"] {
        let attached = engine.try_attach(program, perf_event(event, SampleRate::Frequency(99), None, None));
        if let Err(EngineError::Kernel(KernelError::NoCounter { event: named })) = &attached {
            println!("skipped: this machine has no counter for {named}");
            assert_eq!((*named, engine.all_links().len()), (event, 0));
            continue;
        }
        let link = attached.unwrap().record.id;
        let before: u64 = samples(&bench.kernel, &engine, program).iter().sum();
        let counts = || samples(&bench.kernel, &engine, program).iter().sum::<u64>() > before;
        assert!(wait_until(|| python(&bench.netns, None, "sum(range(1000000))") == "done" && counts()));
        engine.detach(link).unwrap();
    }
}
