//! Object readers that lie or hang: a compromised reader gives tenants no additional rights, and blocks no other call.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use bpfman_model::{
    FunctionSpan, HookKind, Insn, LoadRequest, MapRole, MapSpec, Owner, OwningApplication, ProgramId,
    map_type, op,
};
use bpfmand_engine::{
    EbpfObject, Engine, EngineError, EngineOptions, KernelTypes, LinkAhead, LinkPrograms, ReadHere,
    ReadObjects, RecoveryReport,
};
use bpfmand_kernel::sim::SimKernel;
use bpfmand_object::{BtfFeatures, LinkedProgram, ObjectFacts};

use crate::bench::{Ask as _, Bench};
use crate::bytecode::{texts, types};
use crate::replacements::replacement;
use crate::simulated::bench;

const READ_KERNEL: i32 = 113;

#[derive(Debug, Default)]
struct Liar {
    lies: AtomicBool,
    enlarges: Mutex<Option<fn(&mut MapSpec)>>,
    asked: AtomicUsize,
    /// Question before which it notifies the test and blocks, until the test drops its end of the channel.
    pause: Mutex<Option<Pause>>,
}

/// Number of the question, notification of the test, and channel that ends the pause when closed.
type Pause = (usize, Sender<()>, Receiver<()>);

impl Liar {
    fn pause_if_due(&self) {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let pause = self.pause.lock().unwrap().take_if(|(at, ..)| *at == number);
        if let Some((_, tell, wait)) = pause {
            tell.send(()).unwrap();
            wait.recv().unwrap_err();
        }
    }

    fn pause_at(&self, number: usize) -> (Receiver<()>, Sender<()>) {
        let ((tell, told), (goes_on, wait)) = (channel(), channel());
        self.asked.store(0, Ordering::Relaxed);
        *self.pause.lock().unwrap() = Some((number, tell, wait));
        (told, goes_on)
    }
}

#[derive(Debug)]
struct Reader(Arc<Liar>);

impl ReadObjects for Reader {
    fn read(&self, bytes: Arc<[u8]>) -> Result<EbpfObject, EngineError> {
        self.0.pause_if_due();
        let honest = ReadHere.read(bytes)?;
        let mut facts: ObjectFacts = (*honest).clone();
        if let Some(enlarge) = *self.0.enlarges.lock().unwrap() {
            facts.maps.iter_mut().filter(|map| map.role == MapRole::Ordinary).for_each(enlarge);
        }
        EbpfObject::new(facts.into(), Box::new(LyingLinker { honest, liar: Arc::clone(&self.0) }))
    }

    fn read_ahead(&self, bytes: Arc<[u8]>, _ahead: &LinkAhead) -> Result<EbpfObject, EngineError> {
        self.read(bytes)
    }
}

#[derive(Debug)]
struct LyingLinker {
    honest: EbpfObject,
    liar: Arc<Liar>,
}

impl LinkPrograms for LyingLinker {
    fn btf(&self, features: BtfFeatures) -> Result<Option<Arc<[u8]>>, EngineError> {
        self.liar.pause_if_due();
        self.honest.btf(features)
    }

    fn needs_kernel_types(&self, program: &str) -> Result<bool, EngineError> {
        self.liar.pause_if_due();
        self.honest.needs_kernel_types(program)
    }

    fn needs_module_types(&self, program: &str, types: &KernelTypes<'_>) -> Result<bool, EngineError> {
        self.liar.pause_if_due();
        self.honest.needs_module_types(program, types)
    }

    fn link(
        &self,
        program: &str,
        types: Option<&KernelTypes<'_>>,
        features: BtfFeatures,
    ) -> Result<LinkedProgram, EngineError> {
        self.liar.pause_if_due();
        let mut linked = self.honest.link(program, types, features)?;
        if self.liar.lies.load(Ordering::Relaxed) {
            let text = &mut linked.text;
            text.insns = vec![Insn::new(op::CALL, 0, 0, 0, READ_KERNEL), Insn::new(op::EXIT, 0, 0, 0, 0)];
            text.functions = vec![FunctionSpan { name: program.to_owned(), start: 0, len: text.insns.len() }];
            (text.func_info, text.line_info) = (Vec::new(), Vec::new());
        }
        Ok(linked)
    }
}

fn of_namespace(load: LoadRequest) -> LoadRequest {
    let name = OwningApplication::parse(Some("shop"), "filter").unwrap();
    LoadRequest { owner: Owner::Application(name), ..load }
}

fn start(bench: &Bench<SimKernel>, reader: &Arc<Liar>) -> Engine<SimKernel> {
    let (engine, report) = try_start(bench, reader);
    assert_eq!(report.problems, Vec::<String>::new());
    engine
}

fn try_start(bench: &Bench<SimKernel>, reader: &Arc<Liar>) -> (Engine<SimKernel>, RecoveryReport) {
    let objects = Arc::new(Reader(Arc::clone(reader)));
    let engine = Engine::open(
        Arc::clone(&bench.kernel),
        EngineOptions { objects, map_bytes: 1 << 20, ..bench.options() },
    )
    .unwrap();
    let report = engine.recover().unwrap();
    (engine, report)
}

fn loaded_before(bench: &Bench<SimKernel>, reader: &Arc<Liar>) -> (Engine<SimKernel>, ProgramId) {
    let engine = start(bench, reader);
    let of_machine = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let of_tenant = engine.loads(&of_namespace(bench.request("programs", &["bravo"])))[0];
    engine.attached(of_machine, bench.xdp(1));
    drop(engine);
    (start(bench, reader), of_tenant)
}

#[test]
fn chains_use_cached_texts_without_a_reader() {
    let (bench, reader) = (bench(), Arc::new(Liar::default()));
    let (engine, of_tenant) = loaded_before(&bench, &reader);
    reader.lies.store(true, Ordering::Relaxed);
    reader.asked.store(0, Ordering::Relaxed);
    engine.attached(of_tenant, bench.xdp(2));
    assert_eq!(reader.asked.load(Ordering::Relaxed), 0);
    assert_eq!(engine.names(&bench.left(), HookKind::Xdp).len(), 2);
    reader.lies.store(false, Ordering::Relaxed);
    assert!(engine.verify_chain(&bench.left(), HookKind::Xdp, None).unwrap().matches());
}

#[test]
fn reader_with_another_text_at_attach_bypasses_no_helper_list() {
    let (bench, reader) = (bench(), Arc::new(Liar::default()));
    let (engine, of_tenant) = loaded_before(&bench, &reader);
    // Remove the stored texts, which records of earlier versions lack, too.
    texts(&bench).iter().for_each(|text| std::fs::remove_file(text).unwrap());
    let before = engine.names(&bench.left(), HookKind::Xdp);
    reader.lies.store(true, Ordering::Relaxed);
    let refused = engine.try_attach(of_tenant, bench.xdp(2)).unwrap_err();
    assert!(matches!(&refused, EngineError::Guard(_)), "{refused}");
    assert_eq!(engine.names(&bench.left(), HookKind::Xdp), before);
    reader.lies.store(false, Ordering::Relaxed);
    engine.attached(of_tenant, bench.xdp(2));
}

#[test]
fn text_changed_on_disk_is_built_again() {
    let (bench, reader) = (bench(), Arc::new(Liar::default()));
    let (engine, of_tenant) = loaded_before(&bench, &reader);
    for text in texts(&bench).into_iter().chain(types(&bench)) {
        let mut bytes = std::fs::read(&text).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&text, bytes).unwrap();
    }
    engine.attached(of_tenant, bench.xdp(2));
    assert!(engine.verify_chain(&bench.left(), HookKind::Xdp, None).unwrap().matches());
    // The text is stored again, so that the next start needs no reader.
    drop(engine);
    let engine = start(&bench, &reader);
    reader.asked.store(0, Ordering::Relaxed);
    let link = engine.attached(of_tenant, bench.xdp(3));
    engine.detach(link).unwrap();
    assert_eq!(reader.asked.load(Ordering::Relaxed), 0);
}

/// Load limits do not apply if the maps are as they were when they were accepted.
#[test]
fn reader_with_larger_maps_after_reboot_is_held_to_load_limits() {
    larger_maps_are_refused(|map| map.max_entries *= 1 << 20);
    larger_maps_are_refused(|map| {
        (map.map_type, map.max_entries) = (map_type::PERCPU_ARRAY, map.max_entries.max(1 << 18));
    });
}

fn larger_maps_are_refused(enlarge: fn(&mut MapSpec)) {
    let (bench, reader) = (bench(), Arc::new(Liar::default()));
    let engine = start(&bench, &reader);
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    engine.attached(alpha, bench.xdp(1));
    drop(engine);
    bench.kernel.reboot();
    *reader.enlarges.lock().unwrap() = Some(enlarge);
    let (engine, report) = try_start(&bench, &reader);
    assert_eq!(report.reloaded, 0);
    assert!(report.problems[0].contains("MiB"), "{report:?}");
    drop(engine);
    *reader.enlarges.lock().unwrap() = None;
    let (_engine, report) = try_start(&bench, &reader);
    assert_eq!((report.reloaded, report.problems), (1, Vec::new()));
}

/// Other calls can change the same hook and the shared maps while a reader does not answer.
fn assert_others_do_not_wait<C: FnOnce(&Engine<SimKernel>) + Send>(
    change: impl Fn(&Bench<SimKernel>, [ProgramId; 2]) -> C,
) {
    for question in 0.. {
        let (bench, reader) = (bench(), Arc::new(Liar::default()));
        let engine = start(&bench, &reader);
        let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else {
            panic!()
        };
        engine.attached(alpha, bench.xdp(1));
        engine.attached(bravo, bench.xdp(2));
        engine.replace_program(&replacement(&bench, alpha, "second")).unwrap();
        drop(engine);
        // A rollback reads the object of a version that is no longer loaded.
        bench.kernel.reboot();
        let engine = start(&bench, &reader);
        let [alpha, bravo] = engine.ids()[..] else { panic!() };
        let change = change(&bench, [alpha, bravo]);
        let (waits, goes_on) = reader.pause_at(question);
        let has_waited = std::thread::scope(|scope| {
            let changes = scope.spawn(|| change(&engine));
            let has_waited = loop {
                match waits.try_recv() {
                    Ok(()) => break true,
                    Err(_) if changes.is_finished() => break waits.try_recv().is_ok(),
                    Err(_) => std::thread::yield_now(),
                }
            };
            *reader.pause.lock().unwrap() = None;
            let other = engine.loads(&bench.request("programs", &["alpha"]))[0];
            let link = engine.attached(other, bench.xdp(3));
            engine.detach(link).unwrap();
            engine.unload(other).unwrap();
            drop(goes_on);
            changes.join().unwrap();
            has_waited
        });
        if !has_waited {
            assert!(question > 0);
            return;
        }
    }
}

#[test]
fn others_do_not_wait_for_reader_of_replacement() {
    assert_others_do_not_wait(|bench, [_, bravo]| {
        let request = replacement(bench, bravo, "second");
        move |engine| drop(engine.replace_program(&request).unwrap())
    });
}

#[test]
fn others_do_not_wait_for_reader_of_rollback() {
    assert_others_do_not_wait(|_, [alpha, _]| {
        move |engine| drop(engine.rollback_program(alpha, None).unwrap())
    });
}

#[test]
fn others_do_not_wait_for_reader_of_sharing_load() {
    assert_others_do_not_wait(|bench, _| {
        let request = bench.request("sharing", &["host"]);
        move |engine| drop(engine.load(&request).unwrap())
    });
}

#[test]
fn others_do_not_wait_for_reader_of_verification() {
    assert_others_do_not_wait(|bench, _| {
        let left = bench.left();
        move |engine| assert!(engine.verify_chain(&left, HookKind::Xdp, None).unwrap().matches())
    });
}

#[test]
fn reader_that_lies_at_load_is_refused_like_the_object() {
    let bench = bench();
    let reader = Arc::new(Liar::default());
    let engine = start(&bench, &reader);
    reader.lies.store(true, Ordering::Relaxed);
    let before = bench.kernel.snapshot();
    let refused = engine.load(&of_namespace(bench.request("programs", &["bravo"]))).unwrap_err();
    assert!(matches!(&refused, EngineError::Guard(_)), "{refused}");
    assert_eq!(bench.kernel.snapshot(), before);
}
