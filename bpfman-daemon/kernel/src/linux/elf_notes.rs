//! Notes of USDT probes (`.note.stapsdt`). They may be forged: their size is limited, and a location is accepted only
//! at a nop instruction, where compilers put it.

use std::fs::File;
use std::io;

use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use object::Endianness;
use object::elf::{self, FileHeader64, ProgramHeader64};
use object::pod;
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _};

use super::elf_binary::{Binary, identity, invalid, read_up_to};
use super::symbols::TargetFile;

/// Maximum size of the notes. Most libraries have a few kilobytes, the largest programs some hundred.
const MAX_BYTES: u64 = 4 << 20;
/// Maximum number of locations of a probe. Compilers repeat a probe for each inlined copy of its function.
const MAX_SITES: usize = 4096;
/// Maximum number of program headers. Linkers write about a dozen.
const MAX_HEADERS: usize = 1024;
const SEMAPHORE_BYTES: u64 = 2;
const MAX_INSTRUCTION: usize = 15;
const ARM_NOP: [u8; 4] = [0x1f, 0x20, 0x03, 0xd5];
const NOTE_TYPE: u32 = 3;
const OWNER: &[u8] = b"stapsdt\0";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsdtSite {
    pub offset: u64,
    /// File offset of the counter that shows whether the probe is in use.
    pub semaphore: Option<u64>,
    pub arguments: String,
}

pub fn sites(target: &TargetFile, provider: &str, name: &str) -> io::Result<Vec<UsdtSite>> {
    let file = target.file();
    if identity(file)? != elf::ELFCLASS64 {
        return Err(invalid("it is no file of 64 bits"));
    }
    let binary = Binary::<FileHeader64<Endianness>>::open(file)?;
    let Some(notes) = binary.named_section(elf::SHT_NOTE, ".note.stapsdt")? else { return Ok(Vec::new()) };
    let endian = binary.endian;
    let (at, size) = (notes.sh_offset(endian), notes.sh_size(endian));
    if size > MAX_BYTES {
        return Err(invalid("its notes of probes are too large"));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    if read_up_to(file, &mut bytes, at)? < bytes.len() {
        return Err(invalid("its notes of probes are cut off"));
    }
    let base = binary.named_section(elf::SHT_PROGBITS, ".stapsdt.base")?.map(|base| base.sh_addr(endian));
    let loaded = Loaded::open(file, &binary)?;
    let mut found = Vec::new();
    for note in read(&bytes, endian) {
        if (note.provider, note.name) != (provider.as_bytes(), name.as_bytes()) {
            continue;
        }
        if found.len() == MAX_SITES {
            return Err(invalid("it has too many places of the probe"));
        }
        // A tool may have moved the program's addresses without adjusting those in notes.
        let moved = base.filter(|_| note.base != 0).map_or(0, |base| base.wrapping_sub(note.base));
        found.push(UsdtSite {
            offset: loaded.place(note.location.wrapping_add(moved))?,
            semaphore: match note.semaphore {
                0 => None,
                address => Some(loaded.semaphore(address.wrapping_add(moved))?),
            },
            arguments: String::from_utf8_lossy(note.arguments).into_owned(),
        });
    }
    Ok(found)
}

/// Loaded parts, read once: a file may claim many, with many locations in each.
struct Loaded<'a> {
    file: &'a File,
    file_bytes: u64,
    machine: elf::Machine,
    parts: Vec<Part>,
}

struct Part {
    address: u64,
    offset: u64,
    bytes: u64,
    flags: elf::ProgramFlags,
}

impl<'a> Loaded<'a> {
    fn open(file: &'a File, binary: &Binary<'_, FileHeader64<Endianness>>) -> io::Result<Self> {
        let (header, endian) = (&binary.header, binary.endian);
        let count = usize::from(header.e_phnum(endian));
        if count > MAX_HEADERS {
            return Err(invalid("it has too many program headers"));
        }
        // Words, because headers need alignment.
        let mut words = vec![0_u64; count * size_of::<ProgramHeader64<Endianness>>() / 8];
        let bytes = pod::bytes_of_slice_mut(&mut words);
        if read_up_to(file, bytes, header.e_phoff(endian))? < bytes.len() {
            return Err(invalid("its program headers are cut off"));
        }
        let (headers, _) = pod::slice_from_bytes::<ProgramHeader64<Endianness>>(bytes, count)
            .map_err(|()| invalid("its program headers cannot be read"))?;
        let parts =
            headers.iter().filter(|header| header.p_type(endian) == elf::PT_LOAD).map(|header| Part {
                address: header.p_vaddr(endian),
                offset: header.p_offset(endian),
                bytes: header.p_filesz(endian),
                flags: header.p_flags(endian),
            });
        let (file_bytes, machine) = (file.metadata()?.len(), header.e_machine(endian));
        Ok(Self { file, file_bytes, machine, parts: parts.collect() })
    }

    fn offset_of(&self, address: u64, bytes: u64, flag: elf::ProgramFlags) -> Option<u64> {
        let offset_in = |part: &Part| {
            let inside = address.checked_sub(part.address)?;
            (inside.checked_add(bytes)? <= part.bytes).then_some(())?;
            inside.checked_add(part.offset)
        };
        let offset = self.parts.iter().filter(|part| part.flags.contains(flag)).find_map(offset_in)?;
        (offset.checked_add(bytes)? <= self.file_bytes).then_some(offset)
    }

    /// Returns the file offset of a probe: a nop, since a breakpoint inside an instruction would crash the processes.
    fn place(&self, address: u64) -> io::Result<u64> {
        let offset = self
            .offset_of(address, 1, elf::PF_X)
            .ok_or_else(|| invalid("a place of the probe is not loaded from the file, to be run"))?;
        let mut code = [0; MAX_INSTRUCTION];
        let read = read_up_to(self.file, &mut code, offset)?;
        let code = &code[..read];
        let is_empty = match self.machine {
            elf::EM_X86_64 => {
                Decoder::new(64, code, DecoderOptions::NONE).decode().mnemonic() == Mnemonic::Nop
            }
            elf::EM_AARCH64 => offset.is_multiple_of(4) && code.starts_with(&ARM_NOP),
            _ => return Err(invalid("the instructions of its machine are not known here")),
        };
        is_empty.then_some(offset).ok_or_else(|| invalid("a place of the probe is no empty instruction"))
    }

    /// Returns the file offset of a semaphore: writable, since the kernel increments it in the processes' copies.
    fn semaphore(&self, address: u64) -> io::Result<u64> {
        let offset = self
            .offset_of(address, SEMAPHORE_BYTES, elf::PF_W)
            .ok_or_else(|| invalid("a semaphore of the probe is not loaded from the file, to be written"))?;
        if !offset.is_multiple_of(SEMAPHORE_BYTES) {
            return Err(invalid("a semaphore of the probe is at an odd offset"));
        }
        Ok(offset)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Note<'a> {
    location: u64,
    base: u64,
    semaphore: u64,
    provider: &'a [u8],
    name: &'a [u8],
    arguments: &'a [u8],
}

/// Returns the notes. A damaged note ends the list.
fn read(bytes: &[u8], endian: Endianness) -> impl Iterator<Item = Note<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        loop {
            let mut header = [0; 3];
            for (word, bytes) in header.iter_mut().zip(rest.get(..12)?.chunks_exact(4)) {
                *word = number(bytes, endian)?;
            }
            let [owner_len, len, kind] = header;
            let owner_end = 12_usize.checked_add(usize::try_from(owner_len).ok()?)?;
            let start = owner_end.checked_next_multiple_of(4)?;
            let end = start.checked_add(usize::try_from(len).ok()?)?;
            let (owner, content) = (rest.get(12..owner_end)?, rest.get(start..end)?);
            rest = rest.get(end.checked_next_multiple_of(4)?..).unwrap_or_default();
            if kind == u64::from(NOTE_TYPE) && owner == OWNER {
                return note(content, endian);
            }
        }
    })
}

fn note(content: &[u8], endian: Endianness) -> Option<Note<'_>> {
    let address = |at: usize| number(content.get(at..at + 8)?, endian);
    let mut texts = content.get(24..)?.split(|byte| *byte == 0);
    Some(Note {
        location: address(0)?,
        base: address(8)?,
        semaphore: address(16)?,
        provider: texts.next()?,
        name: texts.next()?,
        arguments: texts.next()?,
    })
}

fn number(bytes: &[u8], endian: Endianness) -> Option<u64> {
    let fold = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    (bytes.len() <= 8).then(|| match endian {
        Endianness::Little => bytes.iter().rev().fold(0, fold),
        Endianness::Big => bytes.iter().fold(0, fold),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn encoded(owner: &[u8], kind: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            [owner.len() as u32, content.len() as u32, kind].into_iter().flat_map(u32::to_le_bytes).collect();
        for part in [owner, content] {
            bytes.extend_from_slice(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn probe() -> Vec<u8> {
        let mut content: Vec<u8> =
            [0x1000_u64, 0x2000, 0x3000].into_iter().flat_map(u64::to_le_bytes).collect();
        content.extend_from_slice(b"shop\0sold\0-4@%edi\0");
        content
    }

    #[test]
    fn notes_of_probes_are_found_among_others() {
        let others = [encoded(b"GNU\0", 3, &[1; 20]), encoded(OWNER, 4, &probe())].concat();
        let bytes = [others, encoded(OWNER, NOTE_TYPE, &probe())].concat();
        let found: Vec<_> = read(&bytes, Endianness::Little).collect();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].location, found[0].base, found[0].semaphore), (0x1000, 0x2000, 0x3000));
        assert_eq!(
            (found[0].provider, found[0].name, found[0].arguments),
            (&b"shop"[..], &b"sold"[..], &b"-4@%edi"[..])
        );
    }

    #[test]
    fn damaged_notes_end_the_reading() {
        let whole = encoded(OWNER, NOTE_TYPE, &probe());
        for len in 0..whole.len() - 2 {
            assert_eq!(read(&whole[..len], Endianness::Little).count(), 0, "{len}");
        }
        for at in 0..12 {
            let mut bytes = whole.repeat(2);
            bytes[at] = 0xff;
            let left = usize::from(at >= 8);
            assert_eq!(read(&bytes, Endianness::Little).count(), left, "{at}");
        }
        assert_eq!(read(&whole.repeat(2), Endianness::Little).count(), 2);
        assert_eq!(read(&encoded(OWNER, NOTE_TYPE, &probe()[..20]), Endianness::Little).count(), 0);
    }

    fn binary(machine: elf::Machine, code: &[u8], semaphore: u64) -> Vec<u8> {
        let mut note = encoded(OWNER, NOTE_TYPE, &probe());
        note[36..44].copy_from_slice(&semaphore.to_le_bytes());
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        let mut put = |at: usize, part: &[u8]| {
            bytes.resize(bytes.len().max(at + part.len()), 0);
            bytes[at..at + part.len()].copy_from_slice(part);
        };
        let halves = |halves: &[u16]| halves.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<_>>();
        let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        put(16, &halves(&[3, machine.0, 1, 0]));
        put(32, &words(&[64, 0x200]));
        put(52, &halves(&[64, 56, 2, 64, 3, 2]));
        let load = |flags: elf::ProgramFlags| u64::from(elf::PT_LOAD.0) | u64::from(flags.0) << 32;
        put(64, &words(&[load(elf::PF_X), 0x310, 0x1000, 0, 0x100, 0x100, 1]));
        put(120, &words(&[load(elf::PF_W), 0x300, 0x3000, 0, 0x100, 0x100, 1]));
        put(0x100, &note);
        put(0x180, b"\0.note.stapsdt\0");
        let section = |name: u64, kind: elf::SectionType| name | u64::from(kind.0) << 32;
        put(0x240, &words(&[section(1, elf::SHT_NOTE), 0, 0, 0x100, note.len() as u64, 0, 4, 0]));
        put(0x280, &words(&[section(0, elf::SHT_STRTAB), 0, 0, 0x180, 15, 0, 1, 0]));
        put(0x310, code);
        bytes
    }

    fn found(bytes: &[u8]) -> Result<Vec<(u64, Option<u64>)>, String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let sites = sites(&TargetFile::new(file, "shop".into()), "shop", "sold");
        sites
            .map(|sites| sites.iter().map(|site| (site.offset, site.semaphore)).collect())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn places_are_at_empty_instructions_only() {
        let x86: [&[u8]; 8] = [
            &[0x90],
            &[0x90, 0xc3],
            &[0x66, 0x90],
            &[0x0f, 0x1f, 0x00],
            &[0x0f, 0x1f, 0x40, 0x00],
            &[0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x0f, 0x1f, 0x80, 0, 0, 0, 0],
        ];
        for code in x86 {
            assert_eq!(found(&binary(elf::EM_X86_64, code, 0)), Ok(vec![(0x310, None)]), "{code:x?}");
        }
        assert_eq!(found(&binary(elf::EM_AARCH64, &ARM_NOP, 0)), Ok(vec![(0x310, None)]));
        let none = Err("a place of the probe is no empty instruction".to_owned());
        let others: [&[u8]; 7] = [
            &[0xc3],
            &[0x00, 0x90],
            &[0xf3, 0x90],
            &[0x41, 0x90],
            &[0x66],
            &[0x0f, 0x1f],
            &[0x0f, 0x1f, 0x44, 0],
        ];
        for code in others {
            assert_eq!(found(&binary(elf::EM_X86_64, code, 0)), none, "{code:x?}");
        }
        for code in [&ARM_NOP[..3], &[0x90, 0x90, 0x90, 0x90]] {
            assert_eq!(found(&binary(elf::EM_AARCH64, code, 0)), none, "{code:x?}");
        }
        let outside = Err("a place of the probe is not loaded from the file, to be run".to_owned());
        assert_eq!(found(&binary(elf::EM_X86_64, &[], 0)), outside);
        let unknown = Err("the instructions of its machine are not known here".to_owned());
        assert_eq!(found(&binary(elf::EM_386, &[0x90], 0)), unknown);
    }

    #[test]
    fn semaphores_are_even_places_of_the_file_that_programs_write() {
        let with = |semaphore| found(&binary(elf::EM_X86_64, &[0x90, 0xc3], semaphore));
        for inside in [0, 2, 0x10] {
            assert_eq!(with(0x3000 + inside), Ok(vec![(0x310, Some(0x300 + inside))]));
        }
        assert_eq!(with(0x3001), Err("a semaphore of the probe is at an odd offset".to_owned()));
        for outside in [0x3012, 0x3011, 0x30fe, 0x30ff, 0x3100, 0x1000, u64::MAX] {
            let refused = "a semaphore of the probe is not loaded from the file, to be written".to_owned();
            assert_eq!(with(outside), Err(refused), "{outside:#x}");
        }
    }

    #[test]
    fn more_program_headers_than_any_linker_writes_are_refused() {
        let mut bytes = binary(elf::EM_X86_64, &[0x90], 0);
        let mut with = |count: u16| {
            bytes[56..58].copy_from_slice(&count.to_le_bytes());
            found(&bytes)
        };
        assert_eq!(with(2), Ok(vec![(0x310, None)]));
        assert_eq!(with(1024), Err("its program headers are cut off".to_owned()));
        assert_eq!(with(1025), Err("it has too many program headers".to_owned()));
    }
}
