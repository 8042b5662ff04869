//! Damaged files: an error or a valid object, never a panic.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::compile;
use anyhow::{Context, Result};
use bpfmand_object::{BtfFeatures, KernelBtf, MAX_OBJECT_BYTES, ObjectError, ObjectFile, TextOptions};
use object::{Object, ObjectSection, ObjectSymbol};
use proptest::prelude::*;

static KERNEL: LazyLock<Option<KernelBtf>> = LazyLock::new(|| {
    std::fs::read("/sys/kernel/btf/vmlinux").ok().and_then(|bytes| KernelBtf::parse(bytes).ok())
});

static OBJECTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    ["basic.c", "maps.c", "legacy_maps.c", "core.c", "kernel_symbols.c", "callbacks.c", "new_types.c"]
        .iter()
        .filter_map(|name| compile::bytes(name).ok())
        .collect()
});

fn exercise(bytes: &[u8]) {
    let Ok(object) = ObjectFile::parse(bytes) else { return };
    assert_eq!(object.facts().check(), Ok(()), "what is read here could be told by another process");
    let options = TextOptions { kernel_btf: KERNEL.as_ref(), features: BtfFeatures::NONE };
    for program in object.programs() {
        if let Ok(linked) = object.link(&program.name, &options) {
            assert_eq!(linked.check(object.maps().len()), Ok(()), "and so what is linked here");
            let text = linked.text;
            let total: usize = text.functions.iter().map(|function| function.len).sum();
            assert_eq!(total, text.insns.len());
            for index in text.map_indexes() {
                assert!(index < object.maps().len(), "a reference to map {index}");
            }
        }
        let _ = object.needs_kernel_btf(&program.name);
        let _ = object.uses_local_type_ids(&program.name);
    }
    let values: BTreeMap<String, Vec<u8>> =
        object.globals().iter().map(|global| (global.name.clone(), vec![1; global.size])).collect();
    let _ = object.with_globals(&values);
    let _ = object.set_kconfig(&mut object.maps().to_vec(), |_| None);
    if let Some(btf) = object.btf(BtfFeatures::ALL) {
        assert!(KernelBtf::parse(btf.to_vec()).is_ok(), "what is handed to the kernel is well-formed");
    }
}

fn refused(bytes: Vec<u8>) -> Result<String> {
    Ok(ObjectFile::parse(bytes).err().context("accepted")?.to_string())
}

fn altered(changes: &[(usize, &[u8])]) -> Result<Vec<u8>> {
    let mut bytes = compile::bytes("number.c")?;
    for (at, with) in changes {
        bytes[*at..*at + with.len()].copy_from_slice(with);
    }
    Ok(bytes)
}

#[test]
fn invalid_object_is_refused_with_reason() -> Result<()> {
    assert_eq!(refused(vec![])?, "the file is empty, not an eBPF object");
    assert_eq!(
        refused(b"#!/bin/sh\n".to_vec())?,
        "not an ELF file: it begins with the bytes [23, 21, 2f, 62]"
    );
    assert!(refused(b"\x7fEL".to_vec())?.starts_with("not an ELF file"));
    assert!(refused(b"\x7fELF".to_vec())?.contains("cut off after 4 bytes"));
    let error = ObjectFile::parse(vec![0_u8; MAX_OBJECT_BYTES + 1]).err().context("accepted")?;
    assert!(matches!(error, ObjectError::TooLarge { bytes, .. } if bytes == MAX_OBJECT_BYTES + 1));
    assert!(refused(std::fs::read("/bin/true")?)?.contains("not for eBPF (247)"));
    Ok(())
}

#[test]
fn wrong_class_order_machine_and_type_are_named() -> Result<()> {
    assert!(refused(altered(&[(4, &[1])])?)?.contains("class 1"));
    assert!(refused(altered(&[(5, &[2])])?)?.contains("big-endian"));
    assert!(refused(altered(&[(5, &[7])])?)?.contains("byte order 7"));
    assert!(refused(altered(&[(18, &62_u16.to_ne_bytes())])?)?.contains("machine 62"));
    assert!(refused(altered(&[(16, &2_u16.to_ne_bytes())])?)?.contains("type 2"));
    Ok(())
}

#[test]
fn a_section_table_that_is_not_there_is_refused() -> Result<()> {
    const TABLE_AT: usize = 0x28;
    const TABLE_COUNT: usize = 0x3c;
    let message = refused(altered(&[(TABLE_COUNT, &u16::MAX.to_ne_bytes())])?)?;
    assert!(message.contains("the ELF file is damaged"), "{message}");
    for offset in [u64::MAX, u64::MAX - 63, 1 << 40, 0] {
        let message = refused(altered(&[(TABLE_AT, &offset.to_ne_bytes())])?)?;
        assert!(message.contains("the ELF file is damaged"), "{offset:#x}: {message}");
    }
    // With zero sections in the header, the first section's size holds the number.
    let bytes = compile::bytes("number.c")?;
    let table = usize::try_from(u64::from_ne_bytes(bytes[TABLE_AT..TABLE_AT + 8].try_into()?))?;
    let huge = (1_u64 << 60).to_ne_bytes();
    let message = refused(altered(&[(TABLE_COUNT, &[0, 0]), (table + 0x20, &huge)])?)?;
    assert!(message.contains("the ELF file is damaged"), "{message}");
    // The second section reaches beyond the file; the first one holds the names.
    let message = refused(altered(&[(table + 2 * 64 + 0x20, &huge)])?)?;
    assert!(message.contains("lie outside the file"), "{message}");
    Ok(())
}

#[test]
fn a_file_cut_off_anywhere_is_refused() -> Result<()> {
    for bytes in OBJECTS.iter() {
        // The section table is at the end, so a truncated file is invalid.
        for len in (0..bytes.len()).step_by(16) {
            assert!(ObjectFile::parse(&bytes[..len]).is_err(), "{len} of {} bytes", bytes.len());
        }
    }
    assert!(!OBJECTS.is_empty());
    Ok(())
}

#[test]
fn any_byte_may_be_another() -> Result<()> {
    let bytes = compile::bytes("number.c")?;
    for at in 0..bytes.len() {
        for value in [0x00, 0x7f, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            exercise(&damaged);
        }
    }
    Ok(())
}

#[test]
fn damaged_relocations_of_a_program_do_not_stop_its_siblings() -> Result<()> {
    let mut bytes = compile::bytes("siblings.c")?;
    let section = object::read::elf::ElfFile64::<object::Endianness>::parse(&*bytes)?
        .section_by_name(".relxdp/undefined")
        .and_then(|section| section.file_range())
        .context("no relocations")?;
    // The upper half of the second word is the symbol number.
    let symbol = usize::try_from(section.0)? + 12;
    bytes[symbol..symbol + 4].copy_from_slice(&0x7fff_ffff_u32.to_ne_bytes());
    let object = ObjectFile::parse(bytes)?;
    object.text("good", &TextOptions::default())?;
    let error = object.text("undefined", &TextOptions::default()).err().context("linked")?.to_string();
    assert!(error.contains("names symbol 2147483647, which does not exist"), "{error}");
    Ok(())
}

/// Returns the file offset of a function, its offset in its section, and file offsets of the section's CO-RE records.
fn function_of(bytes: &[u8], name: &str) -> Result<(usize, u32, Vec<usize>)> {
    const RECORD: usize = 16;
    let file = object::read::elf::ElfFile64::<object::Endianness>::parse(bytes)?;
    let symbol = file.symbol_by_name(name).context("no such function")?;
    let code = file.section_by_index(symbol.section_index().context("no section")?)?;
    let start = usize::try_from(code.file_range().context("no instructions")?.0 + symbol.address())?;
    let range = symbol.address()..symbol.address() + symbol.size();
    let ext =
        file.section_by_name(".BTF.ext").and_then(|section| section.file_range()).context("no records")?;
    let ext = usize::try_from(ext.0)?;
    let word = |at: usize| Ok::<_, anyhow::Error>(u32::from_ne_bytes(bytes[at..at + 4].try_into()?));
    // Header: length at 4, offset and size of the CO-RE records at 24 and 28; the record size comes first.
    let mut at = ext + word(ext + 4)? as usize + word(ext + 24)? as usize;
    let end = at + word(ext + 28)? as usize;
    assert_eq!(word(at)? as usize, RECORD);
    at += 4;
    let names = file.section_by_name(".BTF").and_then(|section| section.file_range()).context("no types")?;
    let names = usize::try_from(names.0)?;
    let names = names + word(names + 4)? as usize + word(names + 16)? as usize;
    let mut found = Vec::new();
    while at < end {
        let section = &bytes[names + word(at)? as usize..];
        let is_here = section.starts_with(&[code.name()?.as_bytes(), &[0]].concat());
        let count = word(at + 4)? as usize;
        at += 8;
        for record in (at..).step_by(RECORD).take(count) {
            if is_here && range.contains(&u64::from(word(record)?)) {
                found.push(record);
            }
        }
        at += count * RECORD;
    }
    Ok((start, u32::try_from(symbol.address())?, found))
}

/// Splicing rewrites type ids: nothing else may be in their place.
#[test]
fn a_type_number_is_only_where_a_number_is() -> Result<()> {
    const LOCAL: u32 = 6;
    let options = TextOptions { kernel_btf: None, features: BtfFeatures::ALL };
    let good = compile::bytes("core.c")?;
    let why = |bytes: Vec<u8>, program: &str| -> Result<String> {
        let error = ObjectFile::parse(bytes)?.text(program, &options).err().context("linked")?;
        Ok(std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": "))
    };

    let (start, offset, records) = function_of(&good, "local_only")?;
    let record = *records.first().context("no record")?;
    let at = u32::from_ne_bytes(good[record..record + 4].try_into()?) - offset;
    let mut bytes = good.clone();
    bytes[start + at as usize] = 0x61;
    let error = why(bytes, "local_only")?;
    assert!(error.contains("operation 0x61 cannot carry a CO-RE relocation"), "{error}");

    let mut bytes = good.clone();
    assert_eq!(at, 0, "the function begins with it, so that one may be put in front");
    bytes[start] = 0x18;
    bytes[start + 8] = 0xb7;
    bytes[record..record + 4].copy_from_slice(&(offset + 8).to_ne_bytes());
    let error = why(bytes, "local_only")?;
    assert!(error.contains("operation 0xb7 cannot carry a CO-RE relocation"), "{error}");

    let (_, _, records) = function_of(&good, "types")?;
    let [first, second, ..] = records[..] else { anyhow::bail!("{} records", records.len()) };
    let mut bytes = good;
    for record in records {
        bytes[record + 12..record + 16].copy_from_slice(&LOCAL.to_ne_bytes());
    }
    ObjectFile::parse(bytes.clone())?.text("types", &options)?;
    bytes.copy_within(first..first + 4, second);
    let error = why(bytes, "types")?;
    assert!(error.contains("it has two relocations"), "{error}");
    Ok(())
}

/// `PROPTEST_CASES` can raise the number.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.max(3000), failure_persistence: None, ..usual }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_damage_is_survived(
        which in 0_usize..7,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let Some(bytes) = OBJECTS.get(which) else { return Ok(()) };
        let mut damaged = bytes.clone();
        for (at, value) in changes {
            let at = at.index(damaged.len());
            damaged[at] = value;
        }
        if let Some(cut) = cut {
            damaged.truncate(cut.index(damaged.len()));
        }
        exercise(&damaged);
    }

    #[test]
    fn damaged_type_information_is_survived(
        which in 0_usize..7,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..16),
    ) {
        let Some(bytes) = OBJECTS.get(which) else { return Ok(()) };
        let magic = 0xeb9f_u16.to_ne_bytes();
        let Some(start) = bytes.windows(2).position(|two| two == magic) else { return Ok(()) };
        let mut damaged = bytes.clone();
        for (at, value) in changes {
            let at = start + at.index(damaged.len() - start);
            damaged[at] = value;
        }
        exercise(&damaged);
    }

    #[test]
    fn arbitrary_bytes_are_survived_as_kernel_types(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let mut framed = vec![0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0];
        let types = (bytes.len() / 2) as u32;
        framed.extend(types.to_ne_bytes());
        framed.extend(types.to_ne_bytes());
        framed.extend((bytes.len() as u32 - types).to_ne_bytes());
        framed.extend(&bytes);
        if let Ok(kernel) = KernelBtf::parse(framed) {
            prop_assert!(kernel.function_id("anything").is_none_or(|id| id > 0));
        }
    }
}
