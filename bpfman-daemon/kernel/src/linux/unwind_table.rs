//! Function starts in a binary's unwind table (`.eh_frame_hdr`).
//!
//! The table is in the loaded segments: `strip` keeps it, and only a writer of the binary can change it. An address
//! from another file, as from debug information, is used only if this table has a function there: a probe puts a
//! breakpoint into every process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use object::Endianness;
use object::elf;
use object::pod::Pod;
use object::read::elf::{FileHeader, ProgramHeader as _};

use super::elf_binary::Binary;

/// Bytes before the address of `.eh_frame`: version, and the encodings of address, count and entries.
const HEADER: u64 = 4;
/// Bytes of an entry: the addresses of a function and of its record, each relative to the table.
const ENTRY: u64 = 8;
/// `DW_EH_PE_udata4` and `DW_EH_PE_sdata4`, with any base: four bytes.
const FOUR_BYTES: [u8; 2] = [0x03, 0x0b];
/// `DW_EH_PE_datarel | DW_EH_PE_sdata4`: the encoding that all linkers use.
const RELATIVE: u8 = 0x3b;

/// Returns false if the binary has no such table.
pub fn has_start<Elf: FileHeader<Endian = Endianness> + Pod>(
    binary: &Binary<'_, Elf>,
    address: u64,
) -> io::Result<bool> {
    let endian = binary.endian;
    let Some(segment) = binary.segment(&|segment| segment.p_type(endian) == elf::PT_GNU_EH_FRAME)? else {
        return Ok(false);
    };
    let (at, base, size): (u64, u64, u64) =
        (segment.p_offset(endian).into(), segment.p_vaddr(endian).into(), segment.p_filesz(endian).into());
    let mut header = [0; HEADER as usize];
    if !try_read(binary.file(), &mut header, Some(at))? {
        return Ok(false);
    }
    let [version, frame, count, entries] = header;
    if version != 1
        || ![frame, count].iter().all(|form| FOUR_BYTES.contains(&(form & 0x0f)))
        || entries != RELATIVE
    {
        return Ok(false);
    }
    let start = HEADER + 4;
    let Some(count) = number(binary, at.checked_add(start))? else { return Ok(false) };
    let entries = start + 4;
    let count = u64::from(count.cast_unsigned()).min(size.saturating_sub(entries) / ENTRY);
    // Sorted by function; lookups in an unsorted table may miss some.
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        let Some(function) = number(binary, at.checked_add(entries + middle * ENTRY))? else {
            return Ok(false);
        };
        let function = base.wrapping_add_signed(function.into());
        match function.cmp(&address) {
            std::cmp::Ordering::Equal => return Ok(true),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    Ok(false)
}

fn number<Elf: FileHeader<Endian = Endianness> + Pod>(
    binary: &Binary<'_, Elf>,
    at: Option<u64>,
) -> io::Result<Option<i32>> {
    let mut bytes = [0; 4];
    let read = try_read(binary.file(), &mut bytes, at)?;
    Ok(read.then(|| match binary.endian {
        Endianness::Little => i32::from_le_bytes(bytes),
        Endianness::Big => i32::from_be_bytes(bytes),
    }))
}

/// Returns false if the file ends before: a header may claim any place.
fn try_read(file: &File, bytes: &mut [u8], at: Option<u64>) -> io::Result<bool> {
    let Some(at) = at else { return Ok(false) };
    match file.read_exact_at(bytes, at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(false),
        Err(error) => Err(error),
    }
}
