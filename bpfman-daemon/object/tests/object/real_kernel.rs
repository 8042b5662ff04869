use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;

use crate::compile;
use anyhow::{Context, Result, ensure};
use bpfman_model::MapId;
use bpfmand_kernel::linux::{LinuxKernel, test_run};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{ProgramKind, ProgramLoad};
use bpfmand_object::{BtfFeatures, KconfigValue, KernelBtf, ObjectFile, ProgramEntry, TextOptions};

/// Folder with a bpffs, unmounted on drop, so that it can be removed.
struct PinFolder(tempfile::TempDir);

impl Drop for PinFolder {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(done.is_ok_and(|status| status.success()), "{:?} stays mounted", self.0.path());
    }
}

fn load(object: &ObjectFile, features: BtfFeatures, wanted: impl Fn(&ProgramEntry) -> bool) -> Result<usize> {
    load_with(object, (features, true), &BTreeMap::new(), wanted).map(|programs| programs.len())
}

fn load_with(
    object: &ObjectFile,
    (features, has_typed_functions): (BtfFeatures, bool),
    globals: &BTreeMap<String, Vec<u8>>,
    wanted: impl Fn(&ProgramEntry) -> bool,
) -> Result<Vec<OwnedFd>> {
    let folder = PinFolder(tempfile::tempdir()?);
    let kernel = LinuxKernel::new(folder.0.path())?;
    let types = KernelBtf::parse(kernel.btf()?)?;
    let btf =
        object.btf(features).map(|btf| kernel.load_btf(&btf)).transpose().context("type information")?;
    let mut specs = object.with_globals(globals)?;
    object.set_kconfig(&mut specs, |item| match item.name.as_str() {
        "LINUX_KERNEL_VERSION" => Some(KconfigValue::Number(0x60c00)),
        "CONFIG_BPF" => Some(KconfigValue::Letter('y')),
        _ => None,
    })?;
    let mut maps = Vec::new();
    for spec in &mut specs {
        if spec.map_type == 27 {
            // Ring buffers need a power-of-two number of pages; the loader rounds up.
            spec.max_entries = spec.max_entries.next_power_of_two().max(4096);
        }
        if spec.map_type == 4 && spec.max_entries == 0 {
            spec.max_entries = 1;
        }
        maps.push(kernel.create_map(spec, btf.as_ref()).with_context(|| format!("map {spec:?}"))?);
    }
    let ids: Vec<MapId> =
        maps.iter().map(|map| kernel.map_of(map).map(|facts| facts.id)).collect::<Result<_, _>>()?;
    let mut loaded = Vec::new();
    for program in object.programs().iter().filter(|program| wanted(program)) {
        let Some(kind) = program.family.program_type() else { continue };
        let text = object.text(&program.name, &TextOptions { kernel_btf: Some(&types), features })?;
        ensure!(
            text.btf.is_none() || !text.func_info.is_empty() || !has_typed_functions,
            "{}: no function information",
            program.name
        );
        let bound = text.bind(&ids).map_err(|index| anyhow::anyhow!("no map {index}"))?;
        let program = kernel
            .load_program(&ProgramLoad::new(&program.name, &bound, ProgramKind::from(kind)))
            .with_context(|| format!("program {}", program.name))?;
        loaded.push(program.program);
    }
    Ok(loaded)
}

/// Returns whether the kernel has `bpf_rcu_read_lock` (Linux 6.2).
fn kernel_has_the_functions() -> Result<bool> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let has = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 2);
    if !has {
        println!("skipped: bpf_rcu_read_lock came with Linux 6.2, this is {}", release.trim());
    }
    Ok(has)
}

#[test]
fn programs_of_every_section_name_load() -> Result<()> {
    let object = compile::object("basic.c")?;
    assert_eq!(load(&object, BtfFeatures::ALL, |_| true)?, object.programs().len());
    Ok(())
}

#[test]
fn static_functions_load_as_programs() -> Result<()> {
    let object = compile::object("statics.c")?;
    assert_eq!(load(&object, BtfFeatures::ALL, |_| true)?, 7);
    assert_eq!(load(&object, BtfFeatures::NONE, |_| true)?, 7);
    Ok(())
}

#[test]
fn functions_of_several_sections_and_callbacks_load() -> Result<()> {
    assert_eq!(load(&compile::object("text_sections.c")?, BtfFeatures::ALL, |_| true)?, 1);
    assert_eq!(load(&compile::object("callbacks.c")?, BtfFeatures::ALL, |_| true)?, 2);
    Ok(())
}

fn verdict(object: &ObjectFile, globals: &[(&str, &[u8])]) -> Result<u32> {
    let globals = globals.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
    let programs = load_with(object, (BtfFeatures::ALL, false), &globals, |_| true)?;
    Ok(test_run(&programs[0], &[0; 64], 1)?.verdict)
}

#[test]
fn global_variables_hold_what_was_declared_or_set() -> Result<()> {
    let object = compile::object("verdicts.c")?;
    assert_eq!(verdict(&object, &[])?, 1 + 30 + 100 + 1000 + 10_000);
    let number = |value: u32| value.to_ne_bytes();
    let table: Vec<u8> = [7_u16, 8, 9, 10].iter().flat_map(|value| value.to_ne_bytes()).collect();
    let set: &[(&str, &[u8])] = &[
        ("constant", &number(2)),
        ("table", &table),
        ("internal", &number(200)),
        ("zeroed", &3000_u64.to_ne_bytes()),
        ("extra", &number(40_000)),
        ("fixed", &number(500_000)),
        ("last", &number(6_000_000)),
    ];
    assert_eq!(verdict(&object, set)?, 2 + 9 + 200 + 3000 + 40_000 + 500_000 + 6_000_000);
    Ok(())
}

#[test]
fn every_call_reaches_its_own_function() -> Result<()> {
    assert_eq!(verdict(&compile::object("text_sections.c")?, &[])?, 2 + 1 + 4);
    Ok(())
}

#[test]
fn declared_and_legacy_maps_load() -> Result<()> {
    assert_eq!(load(&compile::object("maps.c")?, BtfFeatures::ALL, |_| true)?, 1);
    assert_eq!(load(&compile::object("legacy_maps.c")?, BtfFeatures::ALL, |_| true)?, 1);
    Ok(())
}

#[test]
fn objects_without_type_information_load() -> Result<()> {
    let (_folder, path) = compile::object_path("legacy_maps.c", &["-g0"])?;
    let object = ObjectFile::parse(std::fs::read(path)?)?;
    assert!(object.btf(BtfFeatures::ALL).is_none());
    assert_eq!(load(&object, BtfFeatures::ALL, |_| true)?, 1);
    Ok(())
}

#[test]
fn objects_joined_by_bpftool_load() -> Result<()> {
    let (folder, first) = compile::object_path("basic.c", &[])?;
    let (_other, second) = compile::object_path("callbacks.c", &[])?;
    let joined = folder.path().join("joined.o");
    let done = Command::new("bpftool").args(["gen", "object"]).args([&joined, &first, &second]).output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let object = ObjectFile::parse(std::fs::read(joined)?)?;
    assert_eq!(load(&object, BtfFeatures::ALL, |_| true)?, object.programs().len());
    assert!(object.globals().iter().any(|global| global.name == "limit" && global.type_name == "__u32"));
    Ok(())
}

#[test]
fn maps_of_both_declarations_in_one_object_load() -> Result<()> {
    let object = compile::object("mixed_maps.c")?;
    assert_eq!(load(&object, BtfFeatures::ALL, |_| true)?, 1);
    let mut maps: Vec<_> =
        object.maps().iter().map(|map| (map.name.as_str(), map.map_type, map.max_entries)).collect();
    maps.sort_unstable();
    assert_eq!(maps, [("old", 2, 3), ("typed", 1, 9)]);
    Ok(())
}

/// libbpf's own linker merges a weak map with a later strong one into an object that libbpf refuses.
#[test]
fn weak_and_strong_maps_that_bpftool_merged_load() -> Result<()> {
    let part = |name: &str, strength: &str| {
        let flags = [
            format!("-DNAME={name}"),
            format!("-DSTRENGTH={strength}"),
            format!(
                "-D{}",
                match name {
                    "one" => "LICENSE",
                    _ => "NO_LICENSE",
                }
            ),
        ];
        compile::object_path("one_map.c", &flags.each_ref().map(String::as_str))
    };
    let (folder, strong) = part("one", "")?;
    let (_second, weak) = part("two", "__weak")?;
    for (at, order) in [[&strong, &weak], [&weak, &strong]].into_iter().enumerate() {
        let joined = folder.path().join(format!("joined-{at}.o"));
        let done = Command::new("bpftool").args(["gen", "object"]).arg(&joined).args(order).output()?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let object = ObjectFile::parse(std::fs::read(joined)?)?;
        assert_eq!(load(&object, BtfFeatures::ALL, |_| true)?, 2, "order {at}");
        assert_eq!(object.maps().len(), 1, "order {at}");
    }
    Ok(())
}

#[test]
fn functions_without_types_beside_typed_maps_load() -> Result<()> {
    let maps = compile::bytes("untyped_functions.c")?;
    let at = maps.windows(8).position(|bytes| bytes == [0x9f, 0xeb, 1, 0, 24, 0, 0, 0]).context("no BTF")?;
    let folder = tempfile::tempdir()?;
    let types = folder.path().join("types");
    std::fs::write(&types, &maps[at..at + 24 + word(&maps, at + 16) + word(&maps, at + 20)])?;
    let types = format!("-DTYPES=\"{}\"", types.display());
    let (_folder, path) = compile::object_path("untyped_functions.c", &["-g0", &types])?;
    let object = ObjectFile::parse(std::fs::read(path)?)?;
    assert_eq!(object.maps()[0].key_size, 8);
    let loaded = load_with(&object, (BtfFeatures::ALL, false), &BTreeMap::new(), |_| true)?;
    assert_eq!((loaded.len(), verdict(&object, &[])?), (2, 2));
    Ok(())
}

/// libbpf refuses both.
#[test]
fn functions_with_dots_and_unnamed_parameters_load() -> Result<()> {
    let mut bytes = compile::bytes("dotted.c")?;
    let renamed = [(&b"module_main\0"[..], &b"module.main\0"[..]), (b"module_helper\0", b"module.helper\0")];
    for (from, to) in renamed {
        let places: Vec<usize> =
            (0..=bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
        assert!(!places.is_empty());
        places.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
    }
    let unnamed = without_parameter_names(&mut bytes).context("it has no BTF")?;
    assert!(unnamed >= 3, "{unnamed} parameters had names");
    let object = ObjectFile::parse(bytes)?;
    assert_eq!(object.programs()[0].name, "module.main");
    assert_eq!(load(&object, BtfFeatures::ALL, |_| true)?, 1);
    Ok(())
}

fn word(bytes: &[u8], at: usize) -> usize {
    bytes[at..at + 4].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// Clears the names in all prototypes of functions (kind 13) of the object's BTF.
fn without_parameter_names(bytes: &mut [u8]) -> Option<usize> {
    let start = (0..bytes.len()).find(|at| bytes[*at..].starts_with(&[0x9f, 0xeb, 1, 0, 24, 0, 0, 0]))?;
    let header = start + word(bytes, start + 4);
    let (mut at, end) =
        (header + word(bytes, start + 8), header + word(bytes, start + 8) + word(bytes, start + 12));
    let mut cleared = 0;
    while at < end {
        let info = word(bytes, at + 4);
        let (kind, count) = ((info >> 24) & 0x1f, info & 0xffff);
        at += 12;
        if kind == 13 {
            for parameter in 0..count {
                let name = at + 8 * parameter;
                cleared += usize::from(word(bytes, name) != 0);
                bytes[name..name + 4].fill(0);
            }
        }
        at += match kind {
            1 | 14 | 17 => 4,
            3 => 12,
            4 | 5 | 15 | 19 => 12 * count,
            6 | 13 => 8 * count,
            _ => 0,
        };
    }
    Some(cleared)
}

#[test]
fn programs_that_read_kernel_types_load() -> Result<()> {
    let object = compile::object("core.c")?;
    assert_eq!(load(&object, BtfFeatures::ALL, |_| true)?, object.programs().len());
    Ok(())
}

#[test]
fn kernel_functions_variables_and_configuration_load() -> Result<()> {
    let object = compile::object("kernel_symbols.c")?;
    let calls = kernel_has_the_functions()?;
    let loaded = load(&object, BtfFeatures::ALL, |program| calls || program.name != "calls")?;
    assert_eq!(loaded, object.programs().len() - usize::from(!calls));
    Ok(())
}

#[test]
fn a_good_program_loads_beside_broken_ones() -> Result<()> {
    assert_eq!(load(&compile::object("siblings.c")?, BtfFeatures::ALL, |program| program.name == "good")?, 1);
    Ok(())
}

#[test]
fn type_information_for_old_kernels_loads_on_this_one_too() -> Result<()> {
    for name in ["basic.c", "callbacks.c", "maps.c", "new_types.c"] {
        let object = compile::object(name)?;
        let all = object.programs().len();
        assert_eq!(load(&object, BtfFeatures::NONE, |_| true).context(name)?, all);
        assert_eq!(load(&object, BtfFeatures::ALL, |_| true).context(name)?, all);
    }
    Ok(())
}

#[test]
fn the_objects_of_xdp_tools_load() -> Result<()> {
    let folder = PathBuf::from(format!("/usr/lib/{ARCH}-linux-gnu/bpf"));
    if !folder.is_dir() {
        println!("skipped: xdp-tools is not installed ({} is missing)", folder.display());
        return Ok(());
    }
    let mut loaded = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let object = ObjectFile::parse(std::fs::read(&path)?).with_context(|| format!("{path:?}"))?;
        assert!(!object.programs().is_empty(), "{path:?}");
        loaded += load(&object, BtfFeatures::ALL, |program| {
            // fentry and fexit targets are chosen by the tool when it runs.
            program.attach_target.is_none()
        })
        .with_context(|| format!("{path:?}"))?;
    }
    assert!(loaded >= 12, "{loaded} programs");
    Ok(())
}
