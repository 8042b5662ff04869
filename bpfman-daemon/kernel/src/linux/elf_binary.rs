//! ELF files with bounded memory: headers, sections and segments, of which files may claim any size.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use object::Endianness;
use object::elf;
use object::pod::{self, Pod};
use object::read::elf::{FileHeader, ProgramHeader as _, SectionHeader as _};

pub(super) const CHUNK: usize = 64 << 10;
/// Some compilers write a section per function.
const MAX_SECTIONS: usize = 1 << 16;

pub(super) fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

pub(super) fn identity(file: &File) -> io::Result<elf::FileClass> {
    let mut identity = [0; 5];
    file.read_exact_at(&mut identity, 0).map_err(|_| invalid("it is too short"))?;
    if identity[..4] != elf::ELFMAG {
        return Err(invalid("it is no ELF file"));
    }
    Ok(elf::FileClass(identity[4]))
}

pub(super) struct Binary<'a, Elf> {
    file: &'a File,
    pub header: Elf,
    pub endian: Endianness,
}

impl<'a, Elf: FileHeader<Endian = Endianness> + Pod> Binary<'a, Elf> {
    pub fn open(file: &'a File) -> io::Result<Self> {
        let mut header = None;
        each::<Elf>(file, 0, 1, &mut |found| {
            header = Some(*found);
            false
        })?;
        let header = header.ok_or_else(|| invalid("it has no header"))?;
        let endian = match header.e_ident().data {
            elf::ELFDATA2LSB => Endianness::Little,
            elf::ELFDATA2MSB => Endianness::Big,
            _ => return Err(invalid("it is of no known byte order")),
        };
        Ok(Self { file, header, endian })
    }

    pub fn file(&self) -> &'a File {
        self.file
    }

    pub fn named_section(
        &self,
        kind: elf::SectionType,
        name: &str,
    ) -> io::Result<Option<Elf::SectionHeader>> {
        let endian = self.endian;
        let names = self.section(u64::from(self.header.e_shstrndx(endian).0), &mut |_| true)?;
        let Some(names) = names else { return Ok(None) };
        let (mut failed, mut looked_at) = (None, 0);
        let found = self.section(0, &mut |section| {
            if section.sh_type(endian) != kind {
                return false;
            }
            looked_at += 1;
            let found = if looked_at > MAX_SECTIONS {
                Err(invalid("it has too many sections"))
            } else {
                self.name_at(names.sh_offset(endian).into(), section.sh_name(endian))
            };
            match found {
                Ok(found) => found == name,
                Err(error) => {
                    failed = Some(error);
                    true
                }
            }
        })?;
        failed.map_or(Ok(found), Err)
    }

    /// Returns a section's contents; `None` if they have more than `most` bytes, or are beyond the end of the file.
    pub fn contents(&self, section: &Elf::SectionHeader, most: usize) -> io::Result<Option<Vec<u8>>> {
        let size: u64 = section.sh_size(self.endian).into();
        let Some(size) = usize::try_from(size).ok().filter(|size| *size <= most) else { return Ok(None) };
        let mut bytes = vec![0; size];
        let read = read_up_to(self.file, &mut bytes, section.sh_offset(self.endian).into())?;
        Ok((read == size).then_some(bytes))
    }

    /// Returns the number of sections. The first section contains a number that does not fit into the header.
    fn section_count(&self) -> io::Result<u64> {
        let (at, count): (u64, u16) =
            (self.header.e_shoff(self.endian).into(), self.header.e_shnum(self.endian));
        if at == 0 || count != 0 {
            return Ok(if at == 0 { 0 } else { u64::from(count) });
        }
        let mut size: u64 = 0;
        each::<Elf::SectionHeader>(self.file, at, 1, &mut |first| {
            size = first.sh_size(self.endian).into();
            false
        })?;
        Ok(size)
    }

    pub fn section(
        &self,
        skip: u64,
        is_wanted: &mut dyn FnMut(&Elf::SectionHeader) -> bool,
    ) -> io::Result<Option<Elf::SectionHeader>> {
        let size = size_of::<Elf::SectionHeader>() as u64;
        if usize::from(self.header.e_shentsize(self.endian)) != size as usize
            && self.header.e_shnum(self.endian) != 0
        {
            return Err(invalid("its section headers have an impossible size"));
        }
        let start: u64 = self.header.e_shoff(self.endian).into();
        let Some(at) = skip.checked_mul(size).and_then(|bytes| bytes.checked_add(start)) else {
            return Ok(None);
        };
        let mut found = None;
        each::<Elf::SectionHeader>(
            self.file,
            at,
            self.section_count()?.saturating_sub(skip),
            &mut |section| {
                if is_wanted(section) {
                    found = Some(*section);
                }
                found.is_none()
            },
        )?;
        Ok(found)
    }

    /// Returns a name. Long names are cut off.
    pub fn name_at(&self, table: u64, place: u32) -> io::Result<String> {
        let mut bytes = [0; 128];
        let read = read_up_to(self.file, &mut bytes, table.saturating_add(u64::from(place)))?;
        let name = bytes[..read].split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(name).into_owned())
    }

    pub(super) fn address_of(&self, offset: u64) -> io::Result<Option<u64>> {
        let endian = self.endian;
        self.translated(offset, |segment| {
            let runs = segment.p_flags(endian).contains(elf::PF_X);
            runs.then(|| (segment.p_offset(endian).into(), segment.p_vaddr(endian).into()))
        })
    }

    pub fn offset_of(&self, address: u64) -> io::Result<Option<u64>> {
        let endian = self.endian;
        self.translated(address, |segment| {
            Some((segment.p_vaddr(endian).into(), segment.p_offset(endian).into()))
        })
    }

    /// Converts between addresses and file offsets. Sums in the file may overflow.
    fn translated(
        &self,
        place: u64,
        ends: impl Fn(&Elf::ProgramHeader) -> Option<(u64, u64)>,
    ) -> io::Result<Option<u64>> {
        let endian = self.endian;
        let mut found: Option<u64> = None;
        self.each_segment(&mut |segment| {
            let size: u64 = segment.p_filesz(endian).into();
            if segment.p_type(endian) == elf::PT_LOAD
                && let Some((from, to)) = ends(segment)
            {
                let inside = place.checked_sub(from).filter(|inside| *inside < size);
                found = inside.and_then(|inside| inside.checked_add(to));
            }
            found.is_none()
        })?;
        Ok(found)
    }

    pub fn segment(
        &self,
        is_wanted: &dyn Fn(&Elf::ProgramHeader) -> bool,
    ) -> io::Result<Option<Elf::ProgramHeader>> {
        let mut found = None;
        self.each_segment(&mut |segment| {
            found = Some(*segment).filter(is_wanted);
            found.is_none()
        })?;
        Ok(found)
    }

    pub fn each_segment(&self, use_it: &mut dyn FnMut(&Elf::ProgramHeader) -> bool) -> io::Result<()> {
        let count = u64::from(self.header.e_phnum(self.endian));
        each::<Elf::ProgramHeader>(self.file, self.header.e_phoff(self.endian).into(), count, use_it)
    }
}

pub(super) fn each<T: Pod>(
    file: &File,
    mut at: u64,
    count: u64,
    goes_on: &mut dyn FnMut(&T) -> bool,
) -> io::Result<()> {
    let size = size_of::<T>();
    let mut left = count;
    // Words, because records need alignment.
    let mut buffer = vec![0_u64; (CHUNK.max(size) / 8).min(count_words(count, size))];
    while left > 0 {
        let chunk = pod::bytes_of_slice_mut(&mut buffer);
        let records = (chunk.len() / size).min(usize::try_from(left).unwrap_or(usize::MAX));
        if records == 0 {
            return Ok(());
        }
        let read = read_up_to(file, &mut chunk[..records * size], at)? / size;
        let (found, _) =
            pod::slice_from_bytes::<T>(chunk, read).map_err(|()| invalid("it cannot be read"))?;
        if !found.iter().all(&mut *goes_on) || read < records {
            return Ok(());
        }
        left -= read as u64;
        at = at.checked_add((read * size) as u64).ok_or_else(|| invalid("a table has no end"))?;
    }
    Ok(())
}

fn count_words(count: u64, size: usize) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(size).div_ceil(8)
}

pub(super) fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
