//! Object files: ELF, BTF, BTF.ext, relocations.

use std::collections::BTreeMap;

use bpfman_model::LoadValues;
use bpfmand_object::{BtfFeatures, KernelBtf, ObjectFile, TextOptions};

use crate::world;

/// Calls all functions that read an object. Its types also serve as the kernel's: the input controls its features.
pub fn run(bytes: &[u8]) {
    let _malformed = KernelBtf::parse(bytes);
    let Ok(object) = ObjectFile::parse(bytes) else { return };
    // The daemon checks the facts that object readers send, so facts read here must pass the same check.
    assert_eq!(object.facts().check(), Ok(()), "facts that a reader could not tell");
    let own = object.btf(BtfFeatures::ALL);
    let own = own.map(|btf| KernelBtf::parse(btf.to_vec()).expect("what the kernel is given is well-formed"));
    for program in object.programs() {
        for kernel_btf in [None, own.as_ref()] {
            let options = TextOptions { kernel_btf, features: BtfFeatures::NONE };
            let Ok(linked) = object.link(&program.name, &options) else { continue };
            assert_eq!(linked.check(object.maps().len()), Ok(()), "a program that a reader could not tell");
            let text = linked.text;
            let total: usize = text.functions.iter().map(|function| function.len).sum();
            assert_eq!(total, text.insns.len(), "functions do not cover the text");
            for index in text.map_indexes() {
                assert!(index < object.maps().len(), "a reference to map {index}");
            }
            let _unresolved = object.unresolved(&program.name, &options);
            let _local = object.local_type_ids(&program.name, &options);
        }
        let _asked = (object.needs_kernel_btf(&program.name), object.uses_local_type_ids(&program.name));
        let _needs_modules = own.as_ref().map(|own| object.needs_module_types(&program.name, own));
    }
    for (index, map) in object.maps().iter().enumerate() {
        let _asked = (object.map_shape(map), object.map_is_tied(index));
    }
    let ones = object.globals().iter().map(|global| (global.name.clone(), vec![1; global.size]));
    let values: BTreeMap<String, Vec<u8>> = ones.collect();
    let _refused = object.with_globals(&values);
    write_texts(&object, bytes);
    let _refused = object.set_kconfig(&mut object.maps().to_vec(), |_| None);
    let _slots = object.initial_slots();
}

fn write_texts(object: &ObjectFile, bytes: &[u8]) {
    let own = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(64)..]).into_owned();
    let texts = ["-1", "true", "eth0", "[1, [2], \"3\"]", "{\"a\": {\"b\": [1]}}", own.as_str()];
    for (global, text) in object.globals().iter().flat_map(|global| texts.map(|text| (global, text))) {
        for by_type_only in [false, true] {
            let globals = [(global.name.clone(), text.to_owned())].into();
            let values = LoadValues { globals, by_type_only, ..LoadValues::default() };
            let Ok(written) = object.facts().global_bytes(&BTreeMap::new(), &values) else { continue };
            assert_eq!(written[&global.name].len(), global.size, "another size than the variable's");
        }
    }
    for map in object.maps() {
        let sizes = [(map.name.clone(), bytes.len() as u32)].into();
        let Ok(sized) = object.facts().with_map_sizes(&sizes) else { continue };
        assert_eq!(sized.check(), Ok(()), "sizes that no object has");
    }
}

/// Returns one object; `tests/fuzz/run` adds those of the examples and of the tests.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![std::fs::read(world::object()).expect("the object that was compiled")]
}
