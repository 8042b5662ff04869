//! Notes of static user-space probes (`.note.stapsdt`): where each is, its semaphore, and where its arguments are. Whoever
//! made the file may claim anything: of notes so many bytes are read, and no more.

use std::io;

use object::Endianness;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader as _, SectionHeader as _};

use super::elf_symbols::{Binary, identity, invalid, read_up_to};
use super::symbols::TargetFile;

/// Most bytes of notes of one file: a few kilobytes of most libraries, some hundred of the largest programs.
const MOST_BYTES: u64 = 4 << 20;
/// Most places of one probe: a compiler repeats it where it puts the function around it into others.
const MOST_SITES: usize = 4096;
/// `n_type` of such notes, and who they are of.
const NOTE_TYPE: u32 = 3;
const OWNER: &[u8] = b"stapsdt\0";

/// A place of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsdtSite {
    /// Of its instruction, in bytes from the start of the file.
    pub offset: u64,
    /// Of its semaphore likewise: a counter by which the program knows that somebody listens.
    pub semaphore: Option<u64>,
    /// Where its arguments are, in the assembler's words.
    pub arguments: String,
}

/// All places of a probe; none if the file has no such probe.
pub fn sites(target: &TargetFile, provider: &str, name: &str) -> io::Result<Vec<UsdtSite>> {
    let file = target.file();
    if identity(file)? != elf::ELFCLASS64 {
        return Err(invalid("it is no file of 64 bits"));
    }
    let binary = Binary::<FileHeader64<Endianness>>::open(file)?;
    let Some(notes) = section(&binary, elf::SHT_NOTE, ".note.stapsdt")? else { return Ok(Vec::new()) };
    let endian = binary.endian;
    let (at, size) = (notes.sh_offset(endian), notes.sh_size(endian));
    if size > MOST_BYTES {
        return Err(invalid("its notes of probes are too large"));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    if read_up_to(file, &mut bytes, at)? < bytes.len() {
        return Err(invalid("its notes of probes are cut off"));
    }
    let base = section(&binary, elf::SHT_PROGBITS, ".stapsdt.base")?.map(|base| base.sh_addr(endian));
    let mut found = Vec::new();
    for note in read(&bytes, endian) {
        if (note.provider, note.name) != (provider.as_bytes(), name.as_bytes()) {
            continue;
        }
        if found.len() == MOST_SITES {
            return Err(invalid("it has too many places of the probe"));
        }
        // A tool that moved the program's addresses left those of the notes as they were.
        let moved = base.filter(|_| note.base != 0).map_or(0, |base| base.wrapping_sub(note.base));
        let offset_of = |address: u64| binary.offset_of(address.wrapping_add(moved));
        let outside = || invalid("a place of the probe is not loaded from the file");
        found.push(UsdtSite {
            offset: offset_of(note.location)?.ok_or_else(outside)?,
            semaphore: match note.semaphore {
                0 => None,
                address => Some(offset_of(address)?.ok_or_else(outside)?),
            },
            arguments: String::from_utf8_lossy(note.arguments).into_owned(),
        });
    }
    Ok(found)
}

/// The first section of a type and name.
fn section(
    binary: &Binary<'_, FileHeader64<Endianness>>,
    kind: elf::SectionType,
    name: &str,
) -> io::Result<Option<elf::SectionHeader64<Endianness>>> {
    let endian = binary.endian;
    let names = binary.section(u64::from(binary.header.e_shstrndx(endian).0), &mut |_| true)?;
    let Some(names) = names else { return Ok(None) };
    let mut failed = None;
    let found = binary.section(0, &mut |section| {
        section.sh_type(endian) == kind
            && match binary.name_at(names.sh_offset(endian), section.sh_name(endian)) {
                Ok(found) => found == name,
                Err(error) => {
                    failed = Some(error);
                    true
                }
            }
    })?;
    failed.map_or(Ok(found), Err)
}

/// What a note says.
#[derive(Debug, PartialEq, Eq)]
struct Note<'a> {
    location: u64,
    base: u64,
    semaphore: u64,
    provider: &'a [u8],
    name: &'a [u8],
    arguments: &'a [u8],
}

/// The notes of probes among notes, one behind the other; what is damaged ends them.
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

/// A number of 4 or 8 bytes.
fn number(bytes: &[u8], endian: Endianness) -> Option<u64> {
    let fold = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    (bytes.len() <= 8).then(|| match endian {
        Endianness::Little => bytes.iter().rev().fold(0, fold),
        Endianness::Big => bytes.iter().fold(0, fold),
    })
}

#[cfg(test)]
mod tests {
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
            let mut bytes = whole.clone();
            bytes[at] = 0xff;
            assert!(read(&bytes, Endianness::Little).count() <= 1);
        }
        assert_eq!(read(&encoded(OWNER, NOTE_TYPE, &probe()[..20]), Endianness::Little).count(), 0);
    }
}
