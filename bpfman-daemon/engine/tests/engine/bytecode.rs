//! Files of bytecode and texts: only those needed are kept, and they are whole.

use std::path::PathBuf;

use bpfman_model::{BytecodeSource, HookKind};
use bpfmand_engine::ReplaceRequest;

use crate::bench::{Ask as _, Bench};
use crate::replacements::replacement;
use crate::simulated::bench;

pub fn files<K: bpfmand_kernel::Kernel>(bench: &Bench<K>) -> Vec<PathBuf> {
    kept(bench).0
}

pub fn texts<K: bpfmand_kernel::Kernel>(bench: &Bench<K>) -> Vec<PathBuf> {
    kept(bench).1.into_iter().filter(|path| !is_types(path)).collect()
}

pub fn types<K: bpfmand_kernel::Kernel>(bench: &Bench<K>) -> Vec<PathBuf> {
    kept(bench).1.into_iter().filter(is_types).collect()
}

fn is_types(path: &PathBuf) -> bool {
    std::fs::read(path).unwrap().starts_with(&0xeb9f_u16.to_ne_bytes())
}

fn kept<K: bpfmand_kernel::Kernel>(bench: &Bench<K>) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let listed = std::fs::read_dir(bench.folder.path().join("bytecode")).unwrap();
    let is_object = |path: &PathBuf| std::fs::read(path).unwrap().starts_with(b"\x7fELF");
    listed.map(|entry| entry.unwrap().path()).partition(is_object)
}

#[test]
fn versions_that_leave_take_their_bytecode_along() {
    let bench = bench();
    let engine = bench.engine();
    let mut alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    engine.attached(alpha, bench.xdp(1));
    for round in 0..12_u8 {
        // Bytes after the end of an ELF file are ignored.
        let mut bytes = crate::objects::object("second").to_vec();
        bytes.push(round);
        let path = bench.folder.path().join(format!("version{round}.o"));
        std::fs::write(&path, bytes).unwrap();
        let keep_old = round % 2 == 0;
        let source = BytecodeSource::File(path);
        let request = ReplaceRequest { source, keep_old, ..replacement(&bench, alpha, "second") };
        alpha = engine.replace_program(&request).unwrap().programs[0].id;
        assert_eq!(files(&bench).len(), 1 + usize::from(keep_old), "round {round}");
        let kept = (texts(&bench).len(), types(&bench).len());
        assert_eq!(kept, if round == 0 { (2, 2) } else { (1, 1) }, "round {round}");
    }
    let name = Some("trace".to_owned());
    let mut bytes = crate::objects::object("second").to_vec();
    bytes.push(99);
    let path = bench.folder.path().join("refused.o");
    std::fs::write(&path, bytes).unwrap();
    let request =
        ReplaceRequest { source: BytecodeSource::File(path), name, ..replacement(&bench, alpha, "second") };
    engine.replace_program(&request).unwrap_err();
    assert_eq!((files(&bench).len(), texts(&bench).len(), types(&bench).len()), (1, 1, 1));
    engine.unload(alpha).unwrap();
    assert_eq!(kept(&bench), (Vec::new(), Vec::new()));
}

#[test]
fn a_load_replaces_bytecode_that_changed_on_disk() {
    let bench = bench();
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let file = files(&bench)[0].clone();
    let whole = std::fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    std::fs::write(&file, damaged).unwrap();
    let bravo = engine.loads(&bench.request("programs", &["bravo"]))[0];
    assert_eq!(std::fs::read(&file).unwrap(), whole);
    engine.attached(alpha, bench.xdp(1));
    engine.attached(bravo, bench.xdp(2));
    assert_eq!(engine.names(&bench.left(), HookKind::Xdp), ["alpha", "bravo"]);
    drop(engine);
    bench.kernel.reboot();
    let engine = bench.engine();
    assert_eq!(engine.names(&bench.left(), HookKind::Xdp), ["alpha", "bravo"]);
}
