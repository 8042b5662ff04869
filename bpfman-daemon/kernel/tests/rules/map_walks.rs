use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use bpfman_model::{MapSpec, map_type};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{EntryRule, Kernel, KernelError, MapEntry, MapPage, MapPlace};

use crate::bench::Bench;

/// `BPF_F_NO_PREALLOC`, which LPM tries require.
const NO_PREALLOC: u32 = 1;

fn entry(number: u32, value: u64) -> MapEntry {
    MapEntry { key: number.to_ne_bytes().to_vec(), value: value.to_ne_bytes().to_vec() }
}

fn all_pages<K: Kernel>(kernel: &K, map: &K::Handle) -> Vec<MapPage> {
    let (mut pages, mut place) = (Vec::new(), Some(MapPlace::default()));
    while let Some(at) = place {
        let page = kernel.map_page(map, &at).unwrap();
        assert_eq!(page.keys.len(), 4 * page.count);
        place = page.next.clone();
        pages.push(page);
    }
    pages
}

fn pages_have_each_entry_once<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    for (kind, entries) in
        [(map_type::HASH, 5000_u32), (map_type::ARRAY, 5000), (map_type::LRU_HASH, 100), (map_type::HASH, 0)]
    {
        let map = kernel.create_map(&MapSpec::sized("pages", kind, 4, 8, entries.max(1)), None).unwrap();
        for number in 0..entries {
            kernel.write_entry(&map, &entry(number, number.into())).unwrap();
        }
        let pages = all_pages(kernel, &map);
        assert!(pages.iter().all(|page| !page.cut_short));
        let keys: BTreeSet<&[u8]> = pages.iter().flat_map(|page| page.keys.chunks_exact(4)).collect();
        assert_eq!(keys.len(), pages.iter().map(|page| page.count).sum::<usize>(), "{kind}");
        // An LRU map drops old entries before it is full.
        assert!(keys.len() == entries as usize || kind == map_type::LRU_HASH, "{kind}: {}", keys.len());
        let values: usize = pages.iter().map(|page| page.values.len()).sum();
        assert_eq!(values, 8 * keys.len());
    }
}

fn an_entry_is_set_by_a_rule<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let map = kernel.create_map(&MapSpec::sized("rules", map_type::HASH, 4, 8, 2), None).unwrap();
    let set = |number, value, rule| kernel.set_entry(&map, &entry(number, value), rule);
    assert!(!set(1, 5, EntryRule::Existing).unwrap());
    assert!(set(1, 5, EntryRule::Create).unwrap());
    assert!(!set(1, 6, EntryRule::Create).unwrap());
    assert_eq!(kernel.map_value(&map, &entry(1, 0).key).unwrap(), Some(entry(1, 5).value));
    assert!(set(1, 6, EntryRule::Existing).unwrap());
    assert!(set(2, 7, EntryRule::Any).unwrap());
    assert_eq!(kernel.map_value(&map, &entry(3, 0).key).unwrap(), None);
    assert!(set(3, 8, EntryRule::Any).is_err());
    let short = kernel.map_value(&map, &[1, 2]).unwrap_err();
    assert!(matches!(short, KernelError::WrongMap { .. }), "{short}");
}

fn queues_and_stacks_show_what_comes_next<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    for (kind, next) in [(map_type::QUEUE, 1_u64), (map_type::STACK, 2)] {
        let map = kernel.create_map(&MapSpec::sized("line", kind, 0, 8, 2), None).unwrap();
        let add = |value: u64| MapEntry { key: Vec::new(), value: value.to_ne_bytes().to_vec() };
        assert_eq!(kernel.map_value(&map, &[]).unwrap(), None);
        for value in [1, 2] {
            assert!(kernel.set_entry(&map, &add(value), EntryRule::Any).unwrap());
        }
        assert_eq!(kernel.map_value(&map, &[]).unwrap(), Some(next.to_ne_bytes().to_vec()));
        assert!(kernel.set_entry(&map, &add(3), EntryRule::Any).is_err());
        assert!(kernel.map_page(&map, &MapPlace::default()).is_err());
    }
}

fn maps_of_maps_show_the_ids_of_those_in_them<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let inner = MapSpec::sized("inner", map_type::ARRAY, 4, 8, 1);
    for kind in [map_type::ARRAY_OF_MAPS, map_type::HASH_OF_MAPS] {
        let outer =
            MapSpec { inner: Some(Box::new(inner.clone())), ..MapSpec::sized("outer", kind, 4, 4, 4) };
        let outer = kernel.create_map(&outer, None).unwrap();
        let one = kernel.create_map(&inner, None).unwrap();
        kernel.fill_slot(&outer, 2, &one).unwrap();
        let id = kernel.map_of(&one).unwrap().id.0.to_ne_bytes().to_vec();
        let pages = all_pages(kernel, &outer);
        assert_eq!(pages.iter().map(|page| page.count).sum::<usize>(), 1);
        assert_eq!((&pages[0].keys[..], &pages[0].values), (&2_u32.to_ne_bytes()[..], &id));
        assert_eq!(kernel.map_value(&outer, &2_u32.to_ne_bytes()).unwrap(), Some(id));
        assert_eq!(kernel.map_value(&outer, &1_u32.to_ne_bytes()).unwrap(), None);
        assert!(kernel.write_entry(&outer, &MapEntry { key: vec![0; 4], value: vec![1; 4] }).is_err());
    }
}

/// The kernel continues a walk after a key; if this key is gone, it begins again.
fn a_walk_over_prefixes_ends_where_it_would_begin_again(bench: &Bench<LinuxKernel>) {
    let kernel = &*bench.kernel;
    let spec = MapSpec { flags: NO_PREALLOC, ..MapSpec::sized("prefixes", map_type::LPM_TRIE, 8, 8, 1000) };
    let map = kernel.create_map(&spec, None).unwrap();
    let key = |number: u32| [32_u32.to_ne_bytes(), number.to_be_bytes()].concat();
    for number in 0..1000 {
        kernel.write_entry(&map, &MapEntry { key: key(number), value: vec![1; 8] }).unwrap();
    }
    let first = kernel.map_page(&map, &MapPlace::default()).unwrap();
    assert!(first.count < 1000 && !first.cut_short, "{}", first.count);
    let whole = kernel.map_page(&map, first.next.as_ref().unwrap()).unwrap();
    assert!(!whole.cut_short && whole.count > 0);
    assert!(kernel.remove_entry(&map, &first.keys[first.keys.len() - 8..]).unwrap());
    let second = kernel.map_page(&map, &first.next.unwrap()).unwrap();
    assert!(second.cut_short && second.next.is_none() && second.count == 0, "{second:?}");
}

fn entries_that_stay_are_read_once_while_others_come_and_go(bench: &Bench<LinuxKernel>) {
    const STAY: u32 = 4000;
    let kernel = &*bench.kernel;
    let map = kernel.create_map(&MapSpec::sized("busy", map_type::HASH, 4, 8, 2 * STAY), None).unwrap();
    for number in 0..STAY {
        kernel.write_entry(&map, &entry(number, 1)).unwrap();
    }
    let read = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !read.load(Ordering::Relaxed) {
                for number in STAY..STAY + 100 {
                    kernel.write_entry(&map, &entry(number, 2)).unwrap();
                }
                for number in STAY..STAY + 100 {
                    kernel.remove_entry(&map, &entry(number, 2).key).unwrap();
                }
            }
        });
        let each_once = (0..20).all(|_| {
            let pages = all_pages(kernel, &map);
            let keys = pages.iter().flat_map(|page| page.keys.chunks_exact(4));
            let mut keys: Vec<u32> = keys.map(|key| u32::from_ne_bytes(key.try_into().unwrap())).collect();
            keys.retain(|key| *key < STAY);
            keys.sort_unstable();
            pages.len() > 1 && pages.iter().all(|page| !page.cut_short) && keys.into_iter().eq(0..STAY)
        });
        read.store(true, Ordering::Relaxed);
        assert!(each_once);
    });
}

crate::on_linux! {
    a_walk_over_prefixes_ends_where_it_would_begin_again,
    entries_that_stay_are_read_once_while_others_come_and_go,
}

crate::on_both_kernels! {
    pages_have_each_entry_once,
    an_entry_is_set_by_a_rule,
    queues_and_stacks_show_what_comes_next,
    maps_of_maps_show_the_ids_of_those_in_them,
}
