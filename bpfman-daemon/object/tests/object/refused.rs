use crate::compile;
use anyhow::{Context, Result, ensure};
use bpfmand_object::{ObjectFile, TextOptions};
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ObjectSymbol};

fn header_of(bytes: &[u8], section: &str) -> Result<usize> {
    const TABLE_AT: usize = 0x28;
    const HEADER: usize = 64;
    let table = usize::try_from(u64::from_ne_bytes(bytes[TABLE_AT..TABLE_AT + 8].try_into()?))?;
    let index =
        ElfFile64::<Endianness>::parse(bytes)?.section_by_name(section).context("no such section")?.index();
    Ok(table + index.0 * HEADER)
}

fn start_of(bytes: &[u8], section: &str) -> Result<usize> {
    let file = ElfFile64::<Endianness>::parse(bytes)?;
    let section = file.section_by_name(section).context("no such section")?;
    Ok(usize::try_from(section.file_range().context("nothing in it")?.0)?)
}

fn refusal(bytes: Vec<u8>) -> Result<String> {
    Ok(chain(&ObjectFile::parse(bytes).err().context("accepted")?))
}

fn link_refusal(bytes: Vec<u8>, program: &str) -> Result<String> {
    let object = ObjectFile::parse(bytes)?;
    Ok(chain(&object.link(program, &TextOptions::default()).err().context("linked")?))
}

fn chain(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn names(message: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(message.contains(part), "{part:?} is not in: {message}");
    }
    Ok(())
}

#[test]
fn sections_that_share_bytes_are_named_both() -> Result<()> {
    const OFFSET: usize = 0x18;
    let mut bytes = compile::bytes("basic.c")?;
    let (code, maps) = (start_of(&bytes, "xdp/filter")?, header_of(&bytes, ".maps")?);
    bytes[maps + OFFSET..maps + OFFSET + 8].copy_from_slice(&(code as u64 + 8).to_ne_bytes());
    names(&refusal(bytes)?, &["(.maps)", "(xdp/filter)", "shares bytes"])
}

fn with_entry(entry: u64) -> Result<Vec<u8>> {
    let mut bytes = compile::bytes("jump_table.c")?;
    let at = start_of(&bytes, ".jumptables")?;
    bytes[at..at + 8].copy_from_slice(&entry.to_ne_bytes());
    Ok(bytes)
}

#[test]
fn jump_tables_that_lead_out_of_their_function_are_named() -> Result<()> {
    const END: u64 = 14 * 8;
    for entry in [0, 8, 16 + 4, END, u64::MAX, 1 << 40] {
        let message = link_refusal(with_entry(entry)?, "jumps")?;
        names(&message, &["jumps", "BPF.JT.0.0", "leads out of the function"])?;
    }
    let object = ObjectFile::parse(with_entry(END - 8)?)?;
    object.link("jumps", &TextOptions::default())?;
    Ok(())
}

#[test]
fn map_declared_in_a_function_is_reported() -> Result<()> {
    names(&refusal(compile::bytes("map_in_function.c")?)?, &["hits", "outside of functions"])
}

#[test]
fn an_object_without_symbols_says_how_to_keep_them() -> Result<()> {
    const TYPE: usize = 4;
    const PROGBITS: u32 = 1;
    let (_folder, path) = compile::object_path("maps.c", &["-g0"])?;
    let mut bytes = std::fs::read(path)?;
    let file = ElfFile64::<Endianness>::parse(&*bytes)?;
    let named: Vec<String> =
        file.sections().filter_map(|section| Some(section.name().ok()?.to_owned())).collect();
    // Emulates strip, which removes the symbol table.
    for section in named.iter().filter(|name| *name == ".symtab" || name.starts_with(".rel")) {
        let header = header_of(&bytes, section)?;
        bytes[header + TYPE..header + TYPE + 4].copy_from_slice(&PROGBITS.to_ne_bytes());
    }
    names(&refusal(bytes)?, &["no symbol table", "strip -g"])
}

#[test]
fn maps_without_types_say_how_to_build_them() -> Result<()> {
    let (_folder, path) = compile::object_path("maps.c", &["-g0"])?;
    names(&refusal(std::fs::read(path)?)?, &[".maps", "BTF", "build with -g"])
}

#[test]
fn common_symbols_say_how_to_build_without_them() -> Result<()> {
    let (_folder, path) = compile::object_path("common.c", &["-fcommon"])?;
    names(&link_refusal(std::fs::read(path)?, "filter")?, &["filter", "seen", "-fno-common"])
}

fn relocation(bytes: &[u8]) -> Result<usize> {
    start_of(bytes, ".relxdp/filter")
}

#[test]
fn relocations_of_an_unknown_kind_are_named_with_their_symbol() -> Result<()> {
    let mut bytes = compile::bytes("basic.c")?;
    let at = relocation(&bytes)? + 8;
    bytes[at..at + 4].copy_from_slice(&99_u32.to_ne_bytes());
    names(&link_refusal(bytes, "filter")?, &["filter", "instruction", "relocation type 99 against"])
}

#[test]
fn relocations_between_instructions_are_named_with_their_place() -> Result<()> {
    let mut bytes = compile::bytes("basic.c")?;
    let at = relocation(&bytes)?;
    let offset = u64::from_ne_bytes(bytes[at..at + 8].try_into()?) + 4;
    bytes[at..at + 8].copy_from_slice(&offset.to_ne_bytes());
    let place = format!("a relocation at {offset:#x} is not at an instruction's start");
    names(&link_refusal(bytes, "filter")?, &["filter", &place])
}

#[test]
fn variables_beyond_all_sections_are_named() -> Result<()> {
    const SYMBOL: usize = 24;
    let mut bytes = compile::bytes("basic.c")?;
    let index = {
        let file = ElfFile64::<Endianness>::parse(&*bytes)?;
        file.symbol_by_name("seen").context("no such variable")?.index()
    };
    let at = start_of(&bytes, ".symtab")? + index.0 * SYMBOL + 8;
    bytes[at..at + 8].copy_from_slice(&(1_u64 << 40).to_ne_bytes());
    let object = ObjectFile::parse(bytes)?;
    let refused: Vec<String> = object
        .programs()
        .iter()
        .filter_map(|program| object.link(&program.name, &TextOptions::default()).err())
        .map(|error| chain(&error))
        .collect();
    names(refused.first().context("every program links")?, &["seen", "far outside its section"])
}

fn type_at(bytes: &[u8], wanted: impl Fn(u32, &str) -> bool) -> Result<(usize, u32)> {
    let start = start_of(bytes, ".BTF")?;
    let word = |at: usize| Ok::<_, anyhow::Error>(u32::from_ne_bytes(bytes[at..at + 4].try_into()?));
    let types = start + word(start + 4)? as usize + word(start + 8)? as usize;
    let end = types + word(start + 12)? as usize;
    let strings = start + word(start + 4)? as usize + word(start + 16)? as usize;
    let (mut at, mut id) = (types, 1);
    while at < end {
        let info = word(at + 4)?;
        let (kind, parts) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        let name = strings + word(at)? as usize;
        let name: Vec<u8> = bytes[name..].iter().copied().take_while(|byte| *byte != 0).collect();
        if wanted(kind, &String::from_utf8(name)?) {
            return Ok((at, id));
        }
        at += 12
            + match kind {
                1 | 14 | 17 => 4,
                3 => 12,
                4 | 5 | 15 | 19 => parts * 12,
                6 | 13 => parts * 8,
                _ => 0,
            };
        id += 1;
    }
    anyhow::bail!("no such type")
}

const TYPEDEF: u32 = 8;
const STRUCT: u32 = 4;

#[test]
fn a_type_that_is_defined_by_itself_is_a_cycle() -> Result<()> {
    let mut bytes = compile::bytes("maps.c")?;
    let (at, id) = type_at(&bytes, |kind, name| kind == TYPEDEF && name == "__u32")?;
    bytes[at + 8..at + 12].copy_from_slice(&id.to_ne_bytes());
    names(&refusal(bytes)?, &["map outer", "its key", &format!("type {id} (__u32)"), "a cycle"])
}

#[test]
fn a_type_that_does_not_exist_has_no_size_for_a_map() -> Result<()> {
    let mut bytes = compile::bytes("maps.c")?;
    let (at, _) = type_at(&bytes, |kind, name| kind == TYPEDEF && name == "__u32")?;
    bytes[at + 8..at + 12].copy_from_slice(&0x00ff_ffff_u32.to_ne_bytes());
    names(&refusal(bytes)?, &["map outer", "its key", "type 16777215, which does not exist"])
}

#[test]
fn type_information_that_ends_early_is_named() -> Result<()> {
    let mut bytes = compile::bytes("maps.c")?;
    let (at, _) = type_at(&bytes, |kind, _| kind == STRUCT)?;
    bytes[at + 4..at + 6].copy_from_slice(&u16::MAX.to_ne_bytes());
    names(&refusal(bytes)?, &["the type information (BTF) is damaged", "of a Struct where"])
}
