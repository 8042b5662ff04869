//! Damaged types and debug records: left out with a warning where no program needs them, as by libbpf.

use anyhow::{Context, Result};
use bpfmand_object::{ObjectFile, TextOptions};
use object::{Object, ObjectSection};

use crate::compile;

fn start_of(bytes: &[u8], section: &str) -> Result<usize> {
    let file = object::read::elf::ElfFile64::<object::Endianness>::parse(bytes)?;
    let range = file.section_by_name(section).and_then(|section| section.file_range());
    Ok(usize::try_from(range.context("no such section")?.0)?)
}

/// Header of `.BTF.ext`: offset and length of the source lines at 16 and 20, and of CO-RE at 24 and 28.
fn with_damaged_lines(name: &str) -> Result<Vec<u8>> {
    let mut bytes = compile::bytes(name)?;
    let at = start_of(&bytes, ".BTF.ext")? + 20;
    bytes[at..at + 4].copy_from_slice(&0x0fff_0000_u32.to_ne_bytes());
    Ok(bytes)
}

fn with_damaged_types(name: &str) -> Result<Vec<u8>> {
    let mut bytes = compile::bytes(name)?;
    let start = start_of(&bytes, ".BTF")?;
    let header = u32::from_ne_bytes(bytes[start + 4..start + 8].try_into()?);
    let info = start + usize::try_from(header)? + 4;
    bytes[info..info + 4].copy_from_slice(&(31_u32 << 24).to_ne_bytes());
    Ok(bytes)
}

fn loads_with_a_warning(bytes: Vec<u8>, program: &str, words: &[&str]) -> Result<()> {
    let object = ObjectFile::parse(bytes)?;
    let linked = object.text(program, &TextOptions::default())?;
    assert!(linked.line_info.is_empty() && !linked.insns.is_empty());
    assert_eq!(object.facts().check(), Ok(()));
    let [warning] = &object.warnings[..] else { panic!("{:?}", object.warnings) };
    assert!(words.iter().all(|word| warning.contains(word)), "{warning}");
    Ok(())
}

#[test]
fn damaged_source_lines_are_left_out_with_a_warning() -> Result<()> {
    let bytes = with_damaged_lines("text_sections.c")?;
    loads_with_a_warning(bytes, "both", &["source lines", "left out", "line_info lies outside"])?;
    let mut bytes = compile::bytes("text_sections.c")?;
    let at = start_of(&bytes, ".BTF.ext")?;
    bytes[at] ^= 0xff;
    loads_with_a_warning(bytes, "both", &["source lines", "left out", "wrong magic"])?;
    assert_eq!(ObjectFile::parse(compile::bytes("text_sections.c")?)?.warnings, [""; 0]);
    Ok(())
}

#[test]
fn damaged_records_of_an_object_with_core_are_refused() -> Result<()> {
    let error = ObjectFile::parse(with_damaged_lines("core.c")?).err().context("it is read")?.to_string();
    assert!(error.contains(".BTF.ext") && error.contains("line_info"), "{error}");
    Ok(())
}

#[test]
fn damaged_types_that_nothing_needs_are_left_out_with_a_warning() -> Result<()> {
    loads_with_a_warning(
        with_damaged_types("text_sections.c")?,
        "both",
        &["its types are left out", "type 1"],
    )
}

#[test]
fn damaged_types_of_maps_core_and_functions_are_refused() -> Result<()> {
    for name in ["maps.c", "core.c", "kernel_symbols.c"] {
        let error = ObjectFile::parse(with_damaged_types(name)?).err().context(name)?.to_string();
        assert!(error.contains("type 1"), "{name}: {error}");
    }
    Ok(())
}
