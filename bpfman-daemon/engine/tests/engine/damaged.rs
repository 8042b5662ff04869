//! Damaged objects are refused with the reason, and leave nothing behind.

use std::path::Path;

use bpfman_model::{BytecodeSource, LoadRequest, Reason};
use bpfmand_kernel::sim::SimOptions;

use crate::bench::{Ask as _, Bench, Testable, pins};
use crate::objects::object;

type Damage = fn(Vec<u8>) -> Vec<u8>;

fn headers(bytes: &[u8]) -> (usize, usize) {
    (u64::from_ne_bytes(bytes[0x28..0x30].try_into().unwrap()) as usize, 64)
}

fn overlap(mut bytes: Vec<u8>) -> Vec<u8> {
    let (table, size) = headers(&bytes);
    let offset = bytes[table + size + 0x18..table + size + 0x20].to_vec();
    for header in (table + 2 * size..bytes.len()).step_by(size) {
        bytes[header + 0x18..header + 0x20].copy_from_slice(&offset);
    }
    bytes
}

fn unknown_relocations(mut bytes: Vec<u8>) -> Vec<u8> {
    const SHT_REL: u32 = 9;
    let (table, size) = headers(&bytes);
    for header in (table..bytes.len()).step_by(size) {
        let word =
            |at: usize| u64::from_ne_bytes(bytes[header + at..header + at + 8].try_into().unwrap()) as usize;
        let kind = u32::from_ne_bytes(bytes[header + 4..header + 8].try_into().unwrap());
        let (start, length) = (word(0x18), word(0x20));
        if kind == SHT_REL {
            for entry in (start..start + length).step_by(16) {
                bytes[entry + 8..entry + 12].copy_from_slice(&99_u32.to_ne_bytes());
            }
        }
    }
    bytes
}

fn no_types(mut bytes: Vec<u8>) -> Vec<u8> {
    let magic = 0xeb9f_u16.to_ne_bytes();
    let at = bytes.windows(4).position(|four| four[..2] == magic && four[2..] == [1, 0]).unwrap();
    bytes[at] ^= 0xff;
    bytes
}

fn cut_short(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() / 2);
    bytes
}

const DAMAGES: [(Damage, &str); 4] = [
    (overlap, "shares bytes"),
    (unknown_relocations, "relocation type 99 against"),
    (no_types, "BTF"),
    (cut_short, "the ELF file is damaged"),
];

fn damaged<K: Testable>(bench: &Bench<K>, number: usize, damage: Damage) -> LoadRequest {
    let bytes = damage(object("programs").to_vec());
    let path = bench.folder.path().join(format!("damaged{number}.o"));
    std::fs::write(&path, bytes).unwrap();
    LoadRequest { source: BytecodeSource::File(path), ..bench.request("programs", &["bravo"]) }
}

fn damaged_objects_are_refused_by_name_and_leave_nothing<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    for (number, (damage, says)) in DAMAGES.into_iter().enumerate() {
        let error = engine.load(&damaged(bench, number, damage)).unwrap_err();
        let message = error.to_string();
        assert_eq!(error.kind(), Reason::Invalid, "{message}");
        assert!(
            message.contains(says) && message.contains(&format!("damaged{number}.o")),
            "{says}: {message}"
        );
        assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
        assert_eq!(engine.ids(), []);
    }
    drop(engine);
    assert_eq!(bench.records(), []);
}

crate::on_both_kernels!(damaged_objects_are_refused_by_name_and_leave_nothing);

#[test]
fn a_kernel_without_types_refuses_what_needs_them_by_name() {
    let bench = crate::simulated::bench_of(SimOptions { btf: None, ..SimOptions::default() });
    let engine = bench.engine();
    let kept = engine.load(&bench.request("programs", &["alpha"])).unwrap().programs[0].id;
    let before = pins(&*bench.kernel, Path::new(""));
    let request = bench.request("points", &["typed_switch"]);
    let error = engine.load(&request).unwrap_err().to_string();
    for says in ["is for \"sched_switch\"", "type information of itself (BTF)", "CONFIG_DEBUG_INFO_BTF"] {
        assert!(error.contains(says), "{says}: {error}");
    }
    assert_eq!((engine.ids(), pins(&*bench.kernel, Path::new(""))), (vec![kept], before));
}
