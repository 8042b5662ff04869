//! Declared maps, and global variables set before loading.

use std::collections::BTreeMap;

use crate::compile;
use anyhow::{Context, Result};
use bpfman_model::{MapRole, MapSpec};
use bpfmand_object::{KconfigKind, KconfigValue, ObjectFile, SlotTarget};

fn map<'a>(maps: &'a [MapSpec], name: &str) -> Result<&'a MapSpec> {
    maps.iter().find(|map| map.name == name).with_context(|| format!("map {name}"))
}

fn shape(map: &MapSpec) -> (u32, u32, u32, u32, u32) {
    (map.map_type, map.key_size, map.value_size, map.max_entries, map.flags)
}

#[test]
fn declared_maps_have_their_sizes_flags_and_pinning() -> Result<()> {
    let object = compile::object("maps.c")?;
    let pinned = map(object.maps(), "pinned")?;
    assert_eq!(shape(pinned), (1, 8, 4, 100, 1));
    assert!(pinned.pin_by_name && pinned.role == MapRole::Ordinary);
    assert!(pinned.btf_key_type_id != 0 && pinned.btf_value_type_id != 0);
    assert_eq!(shape(map(object.maps(), "ring")?), (27, 0, 0, 1000, 0));
    assert_eq!(shape(map(object.maps(), "perf")?), (4, 4, 4, 0, 0));
    assert_eq!(shape(map(object.maps(), "routes")?), (11, 8, 1, 16, 1));
    assert!(!map(object.maps(), "ring")?.pin_by_name);
    Ok(())
}

#[test]
fn the_numa_node_of_a_map_is_kept() -> Result<()> {
    let object = compile::object("numa.c")?;
    let near = map(object.maps(), "near")?;
    assert_eq!((near.flags, near.numa_node), (4, 1));
    Ok(())
}

#[test]
fn maps_of_maps_carry_the_inner_shape_and_their_first_entries() -> Result<()> {
    let object = compile::object("maps.c")?;
    let outer = map(object.maps(), "outer")?;
    assert_eq!(shape(outer), (12, 4, 4, 3, 0));
    assert_eq!(shape(outer.inner.as_deref().context("inner")?), (2, 4, 4, 2, 0));
    let hash = map(object.maps(), "outer_hash")?;
    assert_eq!(shape(hash), (13, 8, 4, 5, 0));
    assert_eq!(shape(hash.inner.as_deref().context("inner")?), (1, 4, 8, 7, 0));
    assert_eq!(shape(map(object.maps(), "jumps")?), (3, 4, 4, 2, 0));

    let name = |index: usize| object.maps()[index].name.as_str();
    let slots: Vec<(&str, u32, String)> = object
        .initial_slots()
        .iter()
        .map(|slot| {
            let target = match &slot.target {
                SlotTarget::Map(index) => format!("map {}", name(*index)),
                SlotTarget::Program(name) => format!("program {name}"),
            };
            (name(slot.map), slot.key, target)
        })
        .collect();
    assert!(slots.contains(&("outer", 1, "map inner_one".to_owned())), "{slots:?}");
    assert!(slots.contains(&("jumps", 0, "program pass".to_owned())), "{slots:?}");
    assert_eq!(slots.len(), 2);
    Ok(())
}

#[test]
fn slots_beyond_their_map_and_too_many_of_them_are_refused() -> Result<()> {
    let parsed = |entries: u32, last: u32| -> Result<_> {
        let options = [format!("-DENTRIES={entries}"), format!("-DLAST={last}")];
        let (_folder, path) = compile::object_path("slots.c", &options.each_ref().map(String::as_str))?;
        Ok(ObjectFile::parse(std::fs::read(path)?))
    };
    assert_eq!(parsed(4096, 4095)??.initial_slots().len(), 4096);
    for (entries, last, why) in [(3, 3, "has no such slot"), (8192, 4096, "fills 4097 slots")] {
        let refused = parsed(entries, last)?.err().context("it is refused")?;
        assert!(refused.to_string().contains(why), "{refused}");
    }
    Ok(())
}

#[test]
fn legacy_maps_are_read_in_both_forms() -> Result<()> {
    let object = compile::object("legacy_maps.c")?;
    let first = map(object.maps(), "first")?;
    assert_eq!(shape(first), (2, 4, 8, 3, 0));
    assert!(!first.pin_by_name);
    let second = map(object.maps(), "second")?;
    assert_eq!(shape(second), (1, 8, 16, 9, 1));
    assert!(second.pin_by_name);
    for name in ["everywhere", "everywhere_short"] {
        assert!(map(object.maps(), name)?.pin_by_name, "PIN_GLOBAL_NS of iproute2: {name}");
    }
    Ok(())
}

#[test]
fn sections_of_globals_are_one_entry_arrays() -> Result<()> {
    let object = compile::object("basic.c")?;
    let rodata = map(object.maps(), ".rodata")?;
    assert_eq!((rodata.role, rodata.flags), (MapRole::Rodata, 1 << 7));
    assert_eq!(rodata.initial.len(), rodata.value_size as usize);
    assert!(rodata.btf_value_type_id != 0);
    assert_eq!(map(object.maps(), ".data")?.role, MapRole::Data);
    let bss = map(object.maps(), ".bss")?;
    assert_eq!((bss.role, bss.flags, bss.max_entries, bss.key_size), (MapRole::Bss, 0, 1, 4));
    assert!(bss.initial.iter().all(|byte| *byte == 0) && bss.initial.len() == 8);
    assert_eq!(map(compile::object("maps.c")?.maps(), ".data.extra")?.role, MapRole::Data);
    Ok(())
}

#[test]
fn globals_are_listed_with_type_size_and_place() -> Result<()> {
    let object = compile::object("basic.c")?;
    let listed: Vec<(&str, usize, &str, bool)> = object
        .globals()
        .iter()
        .map(|global| (global.name.as_str(), global.size, global.type_name.as_str(), global.read_only))
        .collect();
    for expected in [
        ("limit", 4, "__u32", true),
        ("ports", 8, "__u16[4]", true),
        ("seen", 8, "__u64", false),
        ("mode", 4, "__u32", false),
        ("config", 8, "struct config", false),
    ] {
        assert!(listed.contains(&expected), "{expected:?} in {listed:?}");
    }
    Ok(())
}

fn set(object: &ObjectFile, name: &str, value: &[u8]) -> Result<Vec<MapSpec>, bpfmand_object::ObjectError> {
    object.with_globals(&BTreeMap::from([(name.to_owned(), value.to_vec())]))
}

#[test]
fn setting_globals_changes_first_contents_and_nothing_else() -> Result<()> {
    let object = compile::object("basic.c")?;
    let maps = set(&object, "limit", &[1, 2, 3, 4])?;
    let limit = object.globals().iter().find(|global| global.name == "limit").context("limit")?;
    assert_eq!(maps[limit.map].initial[limit.offset..limit.offset + 4], [1, 2, 3, 4]);
    let mut undone = maps;
    undone[limit.map].initial[limit.offset..limit.offset + 4].copy_from_slice(&7_u32.to_ne_bytes());
    assert_eq!(undone, object.maps());
    Ok(())
}

#[test]
fn zeroed_globals_that_are_set_are_data() -> Result<()> {
    let object = compile::object("basic.c")?;
    assert_eq!(map(&set(&object, "seen", &[0; 8])?, ".bss")?.role, MapRole::Bss);
    assert_eq!(map(&set(&object, "seen", &[1; 8])?, ".bss")?.role, MapRole::Data);
    Ok(())
}

#[test]
fn unknown_globals_and_wrong_sizes_are_refused() -> Result<()> {
    let object = compile::object("basic.c")?;
    let error = set(&object, "limits", &[0; 4]).err().context("set")?.to_string();
    assert!(error.starts_with("no global variable named limits; the object has config, "), "{error}");
    let error = set(&object, "limit", &[0; 8]).err().context("set")?.to_string();
    assert_eq!(error, "global variable limit (__u32) has 4 bytes, the value given has 8");
    Ok(())
}

#[test]
fn kernel_configuration_goes_into_its_map() -> Result<()> {
    let object = compile::object("kernel_symbols.c")?;
    let find = |name: &str| {
        object.kconfig_externs().iter().find(|item| item.name == name).with_context(|| name.to_owned())
    };
    assert_eq!(find("LINUX_KERNEL_VERSION")?.kind, KconfigKind::Integer { signed: true });
    assert_eq!(find("CONFIG_BPF")?.kind, KconfigKind::Bool);
    assert_eq!(find("CONFIG_TUN")?.kind, KconfigKind::Tristate);
    assert_eq!(
        (find("CONFIG_CC_VERSION_TEXT")?.kind, find("CONFIG_CC_VERSION_TEXT")?.size),
        (KconfigKind::Text, 64)
    );

    let mut maps = object.maps().to_vec();
    object.set_kconfig(&mut maps, |item| match item.name.as_str() {
        "LINUX_KERNEL_VERSION" => Some(KconfigValue::Number(0x60100)),
        "CONFIG_BPF" => Some(KconfigValue::Letter('y')),
        "CONFIG_TUN" => Some(KconfigValue::Letter('m')),
        _ => None,
    })?;
    let contents = &map(&maps, ".kconfig")?.initial;
    let at = |name: &str| find(name).map(|item| item.offset as usize);
    assert_eq!(contents[at("LINUX_KERNEL_VERSION")?..][..4], 0x60100_u32.to_ne_bytes());
    assert_eq!(contents[at("CONFIG_BPF")?], 1);
    assert_eq!(contents[at("CONFIG_TUN")?..][..4], 2_u32.to_ne_bytes());
    assert_eq!(contents[at("CONFIG_NO_SUCH_OPTION")?..][..4], [0; 4]);

    let error = object.set_kconfig(&mut maps, |_| None).err().context("set")?.to_string();
    assert!(error.contains("this kernel's configuration does not have it"), "{error}");
    let error =
        object.set_kconfig(&mut maps, |_| Some(KconfigValue::Number(u64::MAX >> 1))).err().context("set")?;
    assert!(error.to_string().contains("does not fit"), "{error}");
    Ok(())
}
