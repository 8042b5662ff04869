//! Limits of the verifier's work for one load.

use std::path::Path;

use bpfman_model::{LoadLimits, LoadRequest, Owner, OwningApplication, Reason};
use bpfmand_engine::{DryRunRequest, EngineError, VerifiedLimit};
use bpfmand_kernel::KernelFacts as _;

use crate::bench::{Ask as _, Bench, Testable, pins};
use crate::replacements::replacement;

const fn at_most(insns: u64) -> LoadLimits {
    LoadLimits { map_bytes: None, verified_instructions: Some(insns), no_returns_by_section: false }
}

fn limit(error: EngineError) -> VerifiedLimit {
    match error {
        EngineError::Verified(limit) => limit,
        other => panic!("{other}"),
    }
}

fn a_text_over_the_limit_is_refused_before_the_kernel_is_asked<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let mut request = bench.request("timed", &["trivial", "slow"]);
    // The trivial program has two instructions; both together exceed the limit.
    request.limits = at_most(4);
    let error = engine.load(&request).unwrap_err();
    assert_eq!(error.kind(), Reason::TooLarge);
    assert!(error.hint().unwrap().to_string().contains("limits.verified_instructions"));
    let VerifiedLimit::Text { program, insns, limit } = limit(error) else { panic!("the kernel was asked") };
    assert_eq!((program.as_str(), limit), ("slow", 4));
    assert!(insns > 4);
    assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
    request.programs.truncate(1);
    engine.loads(&request);
}

fn a_new_version_has_the_limit_of_a_load<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let before = pins(&*bench.kernel, Path::new(""));
    let mut new = replacement(bench, alpha, "second");
    new.limits = at_most(1);
    assert!(matches!(limit(engine.replace_program(&new).unwrap_err()), VerifiedLimit::Text { .. }));
    assert_eq!(pins(&*bench.kernel, Path::new("")), before);
    new.limits = at_most(1_000_000);
    engine.replace_program(&new).unwrap();
}

crate::on_both_kernels!(
    a_text_over_the_limit_is_refused_before_the_kernel_is_asked,
    a_new_version_has_the_limit_of_a_load,
);

/// This kernel processes more instructions than the one on which the tenant's program was loaded.
#[test]
fn acknowledged_program_returns_if_more_is_verified() {
    let bench = crate::simulated::bench();
    let load = || {
        let name = OwningApplication::parse(Some("shop"), "timed").unwrap();
        LoadRequest { owner: Owner::Application(name), ..bench.request("timed", &["slow"]) }
    };
    let engine = bench.engine();
    let slow = engine.loads(&load())[0];
    let link = engine.attached(slow, bench.xdp(1));
    drop(engine);
    bench.kernel.reboot();
    bench.kernel.walk_through(40 << 20);
    let engine = bench.engine();
    assert!(engine.describe_link(link).unwrap().standing.is_running());
    let refused = engine.load(&load()).unwrap_err();
    assert_eq!(refused.kind(), Reason::Denied, "{refused}");
    // Each instruction of the loop counts as a call of a helper, which costs 20 more.
    assert!(refused.to_string().contains("may run for 880803840 instructions"), "{refused}");
    assert_eq!(engine.ids().len(), 1);
}

mod walked {
    use super::*;

    #[test]
    fn linux_verified_instructions_count_and_excess_leaves_nothing() {
        let bench = crate::linux::bench("verified");
        let engine = Bench::engine(&bench);
        let mut request = bench.request("timed", &["trivial", "slow"]);
        request.limits = at_most(1000);
        let error = engine.load(&request).unwrap_err();
        if bench.kernel.features().version < (5, 16) {
            assert_eq!(error.kind(), Reason::Unsupported);
            assert!(matches!(limit(error), VerifiedLimit::Uncounted { .. }));
            return;
        }
        let says = error.to_string();
        let VerifiedLimit::Walked { program, insns, limit } = limit(error) else { panic!("{says}") };
        assert_eq!((program.as_str(), limit), ("slow", 1000));
        assert!(insns > 2000 && says.contains(&insns.to_string()) && says.contains("1000"), "{says}");
        assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
        assert_eq!(std::fs::read_dir(bench.folder.path().join("bytecode")).unwrap().count(), 0);
        let trial = DryRunRequest {
            load: request.clone(),
            attachments: Vec::new(),
            replaces: [].into(),
            group: None,
        };
        let tried = engine.dry_run(&trial).unwrap();
        assert!(tried.programs[0].failure.is_none());
        assert!(matches!(
            tried.programs[1].failure,
            Some(EngineError::Verified(VerifiedLimit::Walked { .. }))
        ));
        // Both programs count together, and exactly the limit is allowed.
        request.limits = at_most(insns);
        engine.loads(&request);
        request.limits = at_most(insns - 1);
        assert!(matches!(super::limit(engine.load(&request).unwrap_err()), VerifiedLimit::Walked { .. }));
    }
}
