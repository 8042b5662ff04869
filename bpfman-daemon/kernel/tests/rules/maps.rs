//! Entries of maps: per CPU, copied, and slots.

use bpfman_model::map_type::{
    ARRAY, ARRAY_OF_MAPS, CPUMAP, HASH, LPM_TRIE, LRU_HASH, LRU_PERCPU_HASH, PERCPU_ARRAY, PERCPU_HASH,
    PROG_ARRAY, QUEUE, RINGBUF,
};
use bpfman_model::{Insn, MapRole, MapSpec, ProgramType};
use bpfmand_kernel::linux::{LinuxKernel, test_run};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{Kernel, KernelError, MapEntry};

use crate::bench::Bench;
use crate::programs::{PASS, answering, exit, load, map, map_reference, map_spec, number, set};

fn every_cpu_has_a_value_of_its_own<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    // The kernel pads values to a multiple of 8, which must not show.
    for (map_type, value) in
        [(PERCPU_ARRAY, 8_u8), (PERCPU_ARRAY, 5), (PERCPU_HASH, 12), (LRU_PERCPU_HASH, 8)]
    {
        let map = map(kernel, map_type, 4, u32::from(value), 4);
        let value: Vec<u8> = (1..=value).collect();
        kernel.write_per_cpu(&map, 2, &value).unwrap();
        let read = kernel.read_per_cpu(&map, 2).unwrap();
        assert!(!read.is_empty() && read.iter().all(|found| *found == value), "{read:?}");
        match kernel.read_per_cpu(&map, 3) {
            Ok(zeros) => {
                assert_eq!(map_type, PERCPU_ARRAY);
                assert_eq!(zeros, vec![vec![0; value.len()]; read.len()]);
            }
            Err(error) => assert_eq!(number(&error), Some(libc::ENOENT), "{error:?}"),
        }
        let padded = value.len().next_multiple_of(8) * read.len();
        let entries = kernel.map_entries(&map, 100).unwrap();
        assert!(entries.iter().all(|entry| entry.value.len() == padded), "{entries:?}");
    }
}

fn a_map_that_was_opened_to_read_is_read_and_not_written(bench: &Bench<LinuxKernel>) {
    let kernel = &*bench.kernel;
    let made = map(kernel, ARRAY, 4, 8, 2);
    let entry = |value: u8| MapEntry { key: vec![1, 0, 0, 0], value: vec![value; 8] };
    kernel.write_entry(&made, &entry(7)).unwrap();
    let id = kernel.map_of(&made).unwrap().id;
    let opened = kernel.open_map_to_read(id).unwrap();
    assert_eq!(kernel.map_entries(&opened, 2).unwrap()[1], entry(7));
    assert_eq!(number(&kernel.write_entry(&opened, &entry(8)).unwrap_err()), Some(libc::EPERM));
    kernel.write_entry(&kernel.open_map(id).unwrap(), &entry(9)).unwrap();
    assert_eq!(kernel.map_entries(&opened, 2).unwrap()[1], entry(9));
    let gone = bpfman_model::MapId(u32::MAX - 7);
    assert_eq!(number(&kernel.open_map_to_read(gone).unwrap_err()), Some(libc::ENOENT));
}

fn refused_definition_is_explained(bench: &Bench<LinuxKernel>) {
    const NO_PREALLOC: u32 = 1;
    for (map_type, key, value, entries, flags, words) in [
        (LPM_TRIE, 8, 4, 1, 0, "BPF_F_NO_PREALLOC"),
        (QUEUE, 4, 4, 1, 0, "has no keys"),
        (ARRAY, 8, 8, 1, 0, "keys of 4 bytes"),
        (LRU_HASH, 4, 8, 1, NO_PREALLOC, "cannot have the flag"),
        (PERCPU_ARRAY, 4, 40_000, 1, 0, "32768 bytes for each CPU"),
        (CPUMAP, 4, 4, 1 << 20, 0, "--map-size numbers="),
    ] {
        let spec = MapSpec { flags, ..MapSpec::sized("numbers", map_type, key, value, entries) };
        let error = bench.kernel.create_map(&spec, None).unwrap_err();
        assert!(matches!(error, KernelError::BadMap { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error} does not say {words}");
    }
}

fn per_cpu_access_refuses_what_does_not_fit<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let program = answering(kernel, ProgramType::Xdp, PASS);
    assert!(kernel.read_per_cpu(&program, 0).is_err(), "a program is no map");
    for (map_type, key, why) in [
        (ARRAY, 4, "it is no per-CPU map"),
        (HASH, 4, "it is no per-CPU map"),
        (PERCPU_HASH, 8, "its keys have 8"),
        (RINGBUF, 0, "ringbuf: only arrays"),
    ] {
        let map = if map_type == RINGBUF {
            map(kernel, RINGBUF, 0, 0, 4096)
        } else {
            map(kernel, map_type, key, 8, 4)
        };
        for error in
            [kernel.read_per_cpu(&map, 0).unwrap_err(), kernel.write_per_cpu(&map, 0, &[0; 8]).unwrap_err()]
        {
            assert!(matches!(error, KernelError::WrongMap { .. }), "{error:?}");
            assert!(error.to_string().contains(why), "{error}");
        }
    }
    let map = map(kernel, PERCPU_ARRAY, 4, 8, 2);
    let error = kernel.write_per_cpu(&map, 0, &[0; 4]).unwrap_err().to_string();
    assert!(error.contains("8 bytes, not 4") && error.contains("\"numbers\""), "{error}");
    assert!(kernel.write_per_cpu(&map, 2, &[0; 8]).is_err(), "no such entry");
    assert_eq!(number(&kernel.read_per_cpu(&map, 2).unwrap_err()), Some(libc::ENOENT));
}

fn entry(key: &[u8], value: &[u8]) -> MapEntry {
    MapEntry { key: key.to_vec(), value: value.to_vec() }
}

fn key(map_type: u32, number: u32) -> Vec<u8> {
    match map_type {
        LPM_TRIE => [32_u32.to_ne_bytes(), number.to_be_bytes()].concat(),
        _ => number.to_ne_bytes().to_vec(),
    }
}

fn all_entries_of_a_map_are_copied<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    for (map_type, entries) in [
        (HASH, 3000),
        (ARRAY, 700),
        (LRU_HASH, 500),
        (LPM_TRIE, 600),
        (PERCPU_HASH, 300),
        (PERCPU_ARRAY, 300),
        (LRU_PERCPU_HASH, 300),
    ] {
        let key_size = key(map_type, 0).len() as u32;
        // An LRU map drops entries before it is full.
        let room = if matches!(map_type, LRU_HASH | LRU_PERCPU_HASH) { entries * 8 } else { entries };
        let [from, to]: [K::Handle; 2] = std::array::from_fn(|_| map(kernel, map_type, key_size, 8, room));
        let value_bytes = match map_type {
            PERCPU_HASH | PERCPU_ARRAY | LRU_PERCPU_HASH => {
                let cpus = map(kernel, PERCPU_ARRAY, 4, 8, 1);
                8 * kernel.read_per_cpu(&cpus, 0).unwrap().len()
            }
            _ => 8,
        };
        let mut written = Vec::new();
        for number in 0..entries {
            let value: Vec<u8> = (0..value_bytes).map(|at| (number as usize + at) as u8).collect();
            written.push(entry(&key(map_type, number), &value));
            kernel.write_entry(&from, &written[number as usize]).unwrap();
        }
        assert_eq!(kernel.copy_map(&from, &to).unwrap(), entries as usize, "type {map_type}");
        let mut read = kernel.map_entries(&to, usize::MAX).unwrap();
        read.sort();
        written.sort();
        assert_eq!(read, written, "type {map_type}");
        assert_eq!(kernel.map_entries(&to, 5).unwrap().len(), 5);
        if !matches!(map_type, ARRAY | PERCPU_ARRAY) {
            assert!(kernel.remove_entry(&to, &written[0].key).unwrap());
            assert!(!kernel.remove_entry(&to, &written[0].key).unwrap(), "it is gone");
            assert_eq!(kernel.map_entries(&to, usize::MAX).unwrap().len(), entries as usize - 1);
        }
    }
}

fn an_array_may_grow_and_hashes_may_change_their_kind<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let (small, large) = (map(kernel, ARRAY, 4, 8, 2), map(kernel, ARRAY, 4, 8, 5));
    kernel.write_entry(&small, &entry(&key(ARRAY, 1), &[7; 8])).unwrap();
    assert_eq!(kernel.copy_map(&small, &large).unwrap(), 2);
    let values: Vec<u8> = kernel.map_entries(&large, 9).unwrap().iter().map(|entry| entry.value[0]).collect();
    assert_eq!(values, [0, 7, 0, 0, 0]);
    let (hash, lru) = (map(kernel, HASH, 4, 8, 4), map(kernel, LRU_HASH, 4, 8, 64));
    kernel.write_entry(&hash, &entry(&[1, 2, 3, 4], &[9; 8])).unwrap();
    assert_eq!(kernel.copy_map(&hash, &lru).unwrap(), 1);
    assert_eq!(kernel.map_entries(&lru, 9).unwrap(), [entry(&[1, 2, 3, 4], &[9; 8])]);
    assert_eq!(kernel.copy_map(&map(kernel, HASH, 4, 8, 4), &lru).unwrap(), 0, "an empty map");
}

fn maps_that_do_not_fit_are_refused_by_name<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let hash = map(kernel, HASH, 4, 8, 4);
    kernel.write_entry(&hash, &entry(&[0; 4], &[1; 8])).unwrap();
    let mut maps = map_spec(ARRAY_OF_MAPS, 4, 4, 2);
    maps.inner = Some(Box::new(map_spec(ARRAY, 4, 8, 2)));
    let maps = kernel.create_map(&maps, None).unwrap();
    let id = kernel.map_of(&hash).unwrap().id;
    for (to, why) in [
        (&map(kernel, ARRAY, 4, 8, 4), "of type array is of another family"),
        (&map(kernel, PERCPU_HASH, 4, 8, 4), "of type percpu_hash is of another family"),
        (&map(kernel, HASH, 8, 8, 4), "4 and 8 bytes, those of map"),
        (&map(kernel, HASH, 4, 16, 4), "4 and 8 bytes, those of map"),
        (&hash, "into itself"),
        (&map(kernel, QUEUE, 0, 8, 4), "of type queue: only arrays"),
        (&maps, "of type array_of_maps: only arrays"),
    ] {
        let error = kernel.copy_map(&hash, to).unwrap_err();
        assert!(matches!(error, KernelError::WrongMap { .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{error} does not say {why}");
    }
    let error = kernel.copy_map(&map(kernel, ARRAY, 4, 8, 4), &map(kernel, ARRAY, 4, 8, 3)).unwrap_err();
    assert!(error.to_string().contains("4 entries, and map"), "{error}");
    for number in 1..4 {
        kernel.write_entry(&hash, &entry(&key(HASH, number), &[1; 8])).unwrap();
    }
    let error = kernel.copy_map(&hash, &map(kernel, HASH, 4, 8, 2)).unwrap_err();
    assert_eq!(number(&error), Some(libc::E2BIG), "{error:?}");
    assert_eq!(kernel.map_entries(&hash, 9).unwrap().len(), 4);
    assert_eq!(kernel.map_of(&hash).unwrap().id, id);
}

fn entries_of_the_wrong_size_are_refused<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let (hash, array) = (map(kernel, HASH, 4, 8, 4), map(kernel, ARRAY, 4, 8, 4));
    for wrong in [entry(&[0; 3], &[0; 8]), entry(&[0; 5], &[0; 8]), entry(&[0; 4], &[0; 7]), entry(&[], &[])]
    {
        assert!(matches!(kernel.write_entry(&hash, &wrong), Err(KernelError::WrongMap { .. })));
    }
    assert!(matches!(kernel.remove_entry(&hash, &[0; 8]), Err(KernelError::WrongMap { .. })));
    assert!(matches!(kernel.remove_entry(&array, &[0; 4]), Err(KernelError::WrongMap { .. })));
    assert!(kernel.write_entry(&array, &entry(&key(ARRAY, 4), &[0; 8])).is_err(), "behind the end");
    let mut rodata = map_spec(ARRAY, 4, 8, 1);
    (rodata.role, rodata.initial) = (MapRole::Rodata, vec![5; 8]);
    let rodata = kernel.create_map(&rodata, None).unwrap();
    assert_eq!(
        number(&kernel.write_entry(&rodata, &entry(&[0; 4], &[0; 8])).unwrap_err()),
        Some(libc::EPERM)
    );
    assert_eq!(kernel.map_entries(&rodata, 9).unwrap(), [entry(&[0; 4], &[5; 8])]);
}

fn only_an_unchangeable_value_is_reported_as_frozen<K: Kernel>(bench: &Bench<K>) {
    const RDONLY_PROG: u32 = 1 << 7;
    let kernel = &*bench.kernel;
    let make = |role, flags, entries| {
        let mut spec = map_spec(ARRAY, 4, 8, entries);
        (spec.role, spec.initial, spec.flags) = (role, vec![5; 8], flags);
        let map = kernel.create_map(&spec, None).unwrap();
        (kernel.map_of(&map).unwrap().id, map)
    };
    let (frozen, held) = make(MapRole::Rodata, RDONLY_PROG, 1);
    assert_eq!(kernel.frozen_value(frozen).unwrap(), Some(vec![5; 8]));
    for (what, (map, _held)) in [
        ("not frozen", make(MapRole::Data, RDONLY_PROG, 1)),
        ("programs may write it", make(MapRole::Rodata, 0, 1)),
    ] {
        assert_eq!(kernel.frozen_value(map).unwrap(), None, "{what}");
    }
    let others = map(kernel, HASH, 4, 8, 1);
    assert_eq!(kernel.frozen_value(kernel.map_of(&others).unwrap().id).unwrap(), None, "no array");
    drop(held);
    assert_eq!(kernel.frozen_value(frozen).unwrap(), None, "gone");
}

fn slots_are_emptied<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let programs = map(kernel, PROG_ARRAY, 4, 4, 2);
    let program = answering(kernel, ProgramType::Xdp, PASS);
    let id = kernel.program_of(&program).unwrap().id;
    kernel.fill_slot(&programs, 1, &program).unwrap();
    drop(program);
    assert!(kernel.program(id).unwrap().is_some(), "the slot keeps it");
    for _ in 0..2 {
        kernel.clear_slot(&programs, 1).unwrap();
    }
    let deadline = std::time::Instant::now() + crate::bench::TEST_TIMEOUT;
    while kernel.program(id).unwrap().is_some() {
        assert!(std::time::Instant::now() < deadline, "the emptied slot keeps it");
        std::thread::yield_now();
    }
    assert_eq!(number(&kernel.clear_slot(&programs, 2).unwrap_err()), Some(libc::E2BIG));
    assert!(kernel.clear_slot(&map(kernel, ARRAY, 4, 8, 2), 0).is_err(), "no map of slots");
}

fn counters_of_programs_add_up_over_all_cpus(bench: &Bench<LinuxKernel>) {
    let kernel = &*bench.kernel;
    let counters = map(kernel, PERCPU_ARRAY, 4, 8, 2);
    let [first, second] = map_reference(1, kernel.map_of(&counters).unwrap().id);
    let insns = vec![
        Insn::new(0x62, 10, 0, -4, 1), // the key, 1, on the stack
        Insn::new(0xbf, 2, 10, 0, 0),
        Insn::new(0x07, 2, 0, 0, -4),
        first,
        second,
        Insn::new(0x85, 0, 0, 0, 1), // map_lookup_elem
        Insn::new(0x15, 0, 0, 3, 0), // to the end if there is none
        Insn::new(0x79, 1, 0, 0, 0),
        Insn::new(0x07, 1, 0, 0, 1),
        Insn::new(0x7b, 0, 1, 0, 0), // a CPU writes its own value alone
        set(0, PASS),
        exit(),
    ];
    let program = load(kernel, ProgramType::Xdp, "count", insns);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| test_run(&program, &[0; 64], 250).unwrap());
        }
    });
    let number = |value: &Vec<u8>| u64::from_ne_bytes(value.as_slice().try_into().unwrap());
    let read = kernel.read_per_cpu(&counters, 1).unwrap();
    assert_eq!(read.iter().map(number).sum::<u64>(), 1000, "{read:?}");
    assert_eq!(kernel.read_per_cpu(&counters, 0).unwrap().iter().map(number).sum::<u64>(), 0);
    kernel.write_per_cpu(&counters, 1, &[0; 8]).unwrap();
    assert_eq!(kernel.read_per_cpu(&counters, 1).unwrap().iter().map(number).sum::<u64>(), 0);
}

crate::on_both_kernels!(
    every_cpu_has_a_value_of_its_own,
    per_cpu_access_refuses_what_does_not_fit,
    all_entries_of_a_map_are_copied,
    an_array_may_grow_and_hashes_may_change_their_kind,
    maps_that_do_not_fit_are_refused_by_name,
    entries_of_the_wrong_size_are_refused,
    only_an_unchangeable_value_is_reported_as_frozen,
    slots_are_emptied,
);
crate::on_linux!(
    counters_of_programs_add_up_over_all_cpus,
    a_map_that_was_opened_to_read_is_read_and_not_written,
    refused_definition_is_explained,
);
