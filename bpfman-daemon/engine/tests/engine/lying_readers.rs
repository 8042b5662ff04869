//! Who reads objects may lie: what tenants may not do, they may not do by that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bpfmand_core::{FunctionSpan, Insn, LoadRequest, Owner, OwningApplication, op};
use bpfmand_engine::{
    EbpfObject, Engine, EngineError, EngineOptions, KernelTypes, LinkPrograms, ReadHere, ReadObjects,
};
use bpfmand_object::{BtfFeatures, LinkedProgram};

use crate::bench::Ask as _;
use crate::simulated::bench;

/// `bpf_probe_read_kernel`.
const READ_KERNEL: i32 = 113;

/// Reads as it should, and tells of another program than the file has while it lies.
#[derive(Debug, Default)]
struct Liar(Arc<AtomicBool>);

impl ReadObjects for Liar {
    fn read(&self, bytes: Arc<[u8]>) -> Result<EbpfObject, EngineError> {
        let honest = ReadHere.read(bytes)?;
        let facts = Arc::new((*honest).clone());
        EbpfObject::new(facts, Box::new(LyingLinker { honest, lies: Arc::clone(&self.0) }))
    }
}

#[derive(Debug)]
struct LyingLinker {
    honest: EbpfObject,
    lies: Arc<AtomicBool>,
}

impl LinkPrograms for LyingLinker {
    fn btf(&self, features: BtfFeatures) -> Result<Option<Arc<[u8]>>, EngineError> {
        self.honest.btf(features)
    }

    fn needs_kernel_types(&self, program: &str) -> Result<bool, EngineError> {
        self.honest.needs_kernel_types(program)
    }

    fn exceeds(&self, program: &str, types: &KernelTypes<'_>) -> Result<bool, EngineError> {
        self.honest.exceeds(program, types)
    }

    fn link(
        &self,
        program: &str,
        types: Option<&KernelTypes<'_>>,
        features: BtfFeatures,
    ) -> Result<LinkedProgram, EngineError> {
        let mut linked = self.honest.link(program, types, features)?;
        if self.lies.load(Ordering::Relaxed) {
            let text = &mut linked.text;
            text.insns = vec![Insn::new(op::CALL, 0, 0, 0, READ_KERNEL), Insn::new(op::EXIT, 0, 0, 0, 0)];
            text.functions = vec![FunctionSpan { name: program.to_owned(), start: 0, len: text.insns.len() }];
            (text.func_info, text.line_info) = (Vec::new(), Vec::new());
        }
        Ok(linked)
    }
}

fn of_namespace(load: LoadRequest) -> LoadRequest {
    let name = OwningApplication { namespace: Some("shop".to_owned()), name: "filter".to_owned() };
    LoadRequest { owner: Owner::Application(name), ..load }
}

#[test]
fn a_reader_that_says_another_text_at_an_attachment_gets_round_no_list_of_helpers() {
    let bench = bench();
    let lies = Arc::new(AtomicBool::new(false));
    let start = || {
        let options = EngineOptions { objects: Arc::new(Liar(Arc::clone(&lies))), ..bench.options() };
        let engine = Engine::open(Arc::clone(&bench.kernel), options).unwrap();
        engine.recover().unwrap();
        engine
    };
    let engine = start();
    let of_machine = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let of_tenant = engine.loads(&of_namespace(bench.request("programs", &["bravo"])))[0];
    engine.attached(of_machine, bench.xdp(1));
    drop(engine);
    // Nothing is in memory any more of what was looked at.
    let engine = start();
    lies.store(true, Ordering::Relaxed);
    let before = engine.names(&bench.left(), bpfmand_core::HookKind::Xdp);
    let refused = engine.try_attach(of_tenant, bench.xdp(2)).unwrap_err();
    let EngineError::Reader(why) = &refused else { panic!("{refused}") };
    assert!(why.contains("another text") && why.contains("a member of this hook"), "{refused}");
    assert_eq!(engine.names(&bench.left(), bpfmand_core::HookKind::Xdp), before);
    lies.store(false, Ordering::Relaxed);
    engine.attached(of_tenant, bench.xdp(2));
}

#[test]
fn a_reader_that_says_it_of_a_load_is_refused_as_the_object_would_be() {
    let bench = bench();
    let liar = Liar(Arc::new(AtomicBool::new(true)));
    let options = EngineOptions { objects: Arc::new(liar), ..bench.options() };
    let engine = Engine::open(Arc::clone(&bench.kernel), options).unwrap();
    engine.recover().unwrap();
    let before = bench.kernel.snapshot();
    let refused = engine.load(&of_namespace(bench.request("programs", &["bravo"]))).unwrap_err();
    assert!(matches!(&refused, EngineError::Guard(_)), "{refused}");
    assert_eq!(bench.kernel.snapshot(), before);
}
