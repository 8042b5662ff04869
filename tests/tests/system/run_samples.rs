//! Temporary run counts of programs that are in no chain.

use std::sync::atomic::{AtomicBool, Ordering};

use bpfman_proto::ext::v1::SampleRunsRequest;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::requests::{attach, load, tracepoint};
use bpfman_tests::target::Target;
use bpfman_tests::{Daemon, compile};
use tonic::Code;

use crate::equipment::{Program, assert_status};

#[test]
fn runs_are_counted_while_they_are_asked_for() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let programs = [("on_tracepoint", Type::Tracepoint), ("on_uprobe", Type::Uprobe)];
    let loaded = wire.load(load(&compile::object("probes"), &programs)).unwrap();
    let [busy, idle] = [0, 1].map(|number| Program::of(&loaded.programs[number]).id);
    wire.attach(attach(busy, tracepoint("syscalls/sys_enter_getpriority"))).unwrap();
    let sample = |program_ids: &[u32], sample_ms| {
        wire.sample_runs(SampleRunsRequest { program_ids: program_ids.to_vec(), sample_ms })
    };

    let stop = AtomicBool::new(false);
    let runs = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut target = Target::start();
            while !stop.load(Ordering::Relaxed) {
                target.get_priority();
            }
        });
        // The other process may take longer to start.
        let mut samples = (0..100).map(|_| sample(&[busy, idle], 100).unwrap().programs);
        let runs = samples.find(|runs| runs[0].runs > 0);
        stop.store(true, Ordering::Relaxed);
        runs.expect("the program runs")
    });
    assert!(runs[0].program_id == busy && runs[0].nanoseconds > 0, "{runs:?}");
    assert_eq!((runs[1].program_id, runs[1].runs, runs[1].nanoseconds), (idle, 0, 0));

    assert_status(sample(&[busy, u32::MAX], 100), Code::NotFound, "not-found", &["4294967295"]);
    assert_status(sample(&[busy], 0), Code::InvalidArgument, "invalid", &["over 0 ms"]);
    assert_status(sample(&[busy], 60_001), Code::InvalidArgument, "too-large", &["60001 ms"]);
}
