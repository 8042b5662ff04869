//! Type tags, which Debian 12's compiler does not write, made of `typedef`s named `kptr`.

use object::{Object as _, ObjectSection as _};

const TYPEDEF: u32 = 8;
const TYPE_TAG: u32 = 18;

pub fn write(elf: &mut [u8]) {
    let file = object::File::parse(&*elf).unwrap();
    let Some((start, size)) = file.section_by_name(".BTF").and_then(|section| section.file_range()) else {
        return;
    };
    let btf = &mut elf[start as usize..(start + size) as usize];
    let word = |btf: &[u8], at: usize| u32::from_le_bytes(btf[at..at + 4].try_into().unwrap());
    let header = word(btf, 4) as usize;
    let types = header + word(btf, 8) as usize..header + (word(btf, 8) + word(btf, 12)) as usize;
    let strings = header + word(btf, 16) as usize;
    let mut at = types.start;
    while at < types.end {
        let (name, info) = (word(btf, at) as usize, word(btf, at + 4));
        let (kind, entries) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        if kind == TYPEDEF && btf[strings + name..].starts_with(b"kptr\0") {
            btf[at + 4..at + 8].copy_from_slice(&(TYPE_TAG << 24).to_le_bytes());
        }
        // Bytes after the three words of every record.
        at += 12
            + match kind {
                1 | 14 | 17 => 4,
                3 => 12,
                4 | 5 | 15 | 19 => 12 * entries,
                6 | 13 => 8 * entries,
                _ => 0,
            };
    }
}
