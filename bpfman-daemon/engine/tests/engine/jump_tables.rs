//! Programs with jump tables (Linux 6.19): alone, in a chain, and loaded again.

use std::path::Path;

use bpfman_model::HookKind;
use bpfmand_engine::{EngineError, TracePacket};
use bpfmand_kernel::KernelError;
use bpfmand_kernel::prelude::*;

use crate::bench::{Ask as _, pins};
use crate::linux::bench;

#[test]
fn linux_a_program_with_a_jump_table_runs_in_a_chain() {
    let bench = bench("jump_table");
    let engine = bench.engine();
    let jumps = match engine.load(&bench.request("jump_table", &["jumps"])) {
        Ok(loaded) => loaded.programs[0].id,
        Err(error) => {
            let EngineError::Kernel(KernelError::Unsupported { .. }) = &error else { panic!("{error:?}") };
            assert!(error.to_string().contains("-fno-jump-tables"), "{error}");
            assert_eq!(engine.ids(), [], "nothing is left of it");
            println!("skipped: Linux before 6.19 has no jump tables");
            return;
        }
    };
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    engine.attached(jumps, bench.xdp(1));
    engine.attached(alpha, bench.xdp(2));
    let check = |engine: &bpfmand_engine::Engine<_>| {
        let packet = |length| TracePacket { data: vec![0; length], mark: 0 };
        let traced = engine
            .trace_chain(
                &bench.left(),
                HookKind::Xdp,
                &[packet(60), packet(61)],
                bpfmand_engine::TraceLimits::default(),
            )
            .unwrap()
            .packets;
        let seen: Vec<_> = traced.iter().map(|one| (one.steps.len(), one.agrees)).collect();
        assert_eq!(seen, [(2, true), (1, true)], "{traced:?}");
        assert_eq!(traced[1].verdict, 1, "dropped");
        let verified = engine.verify_chain(&bench.left(), HookKind::Xdp, None).unwrap();
        assert!(verified.matches(), "{verified:?}");
    };
    check(&engine);
    drop(engine);
    for pin in pins(&*bench.kernel, Path::new("")) {
        bench.kernel.unpin(Path::new(&pin)).unwrap();
    }
    let engine = bench.engine();
    check(&engine);
    for program in engine.ids() {
        engine.unload(program).unwrap();
    }
}
