//! Targets that are absent after a reboot: the link keeps the reason, and is attached when the target is there.

use bpfman_model::ProcessScope;
use bpfmand_engine::{HookCheck, Standing};

use crate::bench::Ask as _;
use crate::probed_files::{APP, probe};
use crate::simulated::bench;

#[test]
fn link_whose_target_is_absent_after_a_reboot_keeps_the_reason() {
    let bench = bench();
    let engine = bench.engine();
    let program = engine.loads(&bench.request("programs", &["probe"]))[0];
    let link = engine.attached(program, probe(APP, ProcessScope::default()));
    drop(engine);
    bench.kernel.reboot();
    bench.kernel.remove_file(APP);
    let (engine, report) = bench.start();
    assert!(report.problems.iter().any(|problem| problem.contains(APP)), "{report:?}");
    let reason = |standing: &Standing| {
        let text = standing.to_string();
        assert!(text.starts_with("waiting: it is not attached again since the reboot"), "{text}");
        assert!(text.contains(APP) && text.contains("No such file") && !text.contains("pin"), "{text}");
    };
    for _ in 0..2 {
        reason(&engine.describe_link(link).unwrap().standing);
        let HookCheck::Lost(found) = engine.check_link(link).unwrap() else { panic!("there is no file") };
        reason(&found);
    }
    bench.kernel.replace_file(APP);
    assert!(matches!(engine.check_link(link).unwrap(), HookCheck::Mended(Standing::Unattached { .. })));
    assert!(engine.describe_link(link).unwrap().standing.is_running());
    assert_eq!(bench.kernel.snapshot().links.len(), 1);
}
