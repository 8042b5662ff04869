//! Runtimes that move stacks, found by the contents of binaries. A return probe replaces a return address: a runtime
//! that looks up its frames, or copies a stack, ends the process when it finds the replaced address.

use std::io;

use object::Endianness;
use object::elf::{self, FileHeader32, FileHeader64};
use object::pod::Pod;
use object::read::elf::{FileHeader, ProgramHeader as _};

use super::elf_binary::{Binary, identity, read_up_to};
use super::elf_symbols;
use super::symbols::TargetFile;

/// Written by Go's linkers; `strip` keeps them.
const SECTIONS_OF_GO: [(elf::SectionType, &str); 5] = [
    (elf::SHT_PROGBITS, ".gopclntab"),
    (elf::SHT_PROGBITS, ".data.rel.ro.gopclntab"),
    (elf::SHT_PROGBITS, ".go.buildinfo"),
    (elf::SHT_PROGBITS, ".go_export"),
    (elf::SHT_NOTE, ".note.go.buildid"),
];
/// Type and name of the note with Go's build id, which exists also without sections.
const NOTE_OF_GO: [u8; 8] = *b"\x04\0\0\0Go\0\0";
const MAX_NOTES: usize = 4096;
const SYMBOLS: [(&str, &str); 2] = [("caml_frametable", "OCaml"), ("__morestack", "split stacks")];

/// Returns the runtime of a file if it moves stacks. A file that hides its runtime is not recognised.
pub fn that_moves_stacks(target: &TargetFile) -> Option<&'static str> {
    *target.runtime.get_or_init(|| look_for(target))
}

fn look_for(target: &TargetFile) -> Option<&'static str> {
    let file = target.file();
    let is_go = match identity(file).ok()? {
        elf::ELFCLASS64 => Binary::<FileHeader64<Endianness>>::open(file).and_then(|binary| is_go(&binary)),
        _ => Binary::<FileHeader32<Endianness>>::open(file).and_then(|binary| is_go(&binary)),
    };
    if is_go.unwrap_or(false) {
        return Some("Go");
    }
    let has = |symbol| elf_symbols::file_offset(target, symbol).is_ok();
    SYMBOLS.iter().find(|(symbol, _)| has(symbol)).map(|(_, runtime)| *runtime)
}

fn is_go<Elf: FileHeader<Endian = Endianness> + Pod>(binary: &Binary<'_, Elf>) -> io::Result<bool> {
    let endian = binary.endian;
    let (mut found, mut bytes) = (false, vec![0; MAX_NOTES]);
    binary.each_segment(&mut |segment| {
        if segment.p_type(endian) == elf::PT_NOTE {
            let size: u64 = segment.p_filesz(endian).into();
            let most = usize::try_from(size).unwrap_or(MAX_NOTES).min(MAX_NOTES);
            let read = read_up_to(binary.file(), &mut bytes[..most], segment.p_offset(endian).into());
            found =
                read.is_ok_and(|read| bytes[..read].windows(NOTE_OF_GO.len()).any(|note| note == NOTE_OF_GO));
        }
        !found
    })?;
    for (kind, name) in SECTIONS_OF_GO {
        found = found || binary.named_section(kind, name)?.is_some();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::process::Command;

    use super::*;

    fn found_in(source: &str, stripped: bool) -> Option<&'static str> {
        let folder = tempfile::tempdir().unwrap();
        let (code, library) = (folder.path().join("code.c"), folder.path().join("library.so"));
        fs::write(&code, source).unwrap();
        let built = Command::new("cc").args(["-shared", "-o"]).arg(&library).arg(&code).status().unwrap();
        assert!(built.success());
        if stripped {
            let stripped = Command::new("strip").args(["--strip-all"]).arg(&library).status().unwrap();
            assert!(stripped.success());
        }
        that_moves_stacks(&TargetFile::new(File::open(&library).unwrap(), library))
    }

    #[test]
    fn runtimes_that_move_stacks_are_known_by_the_file() {
        let table =
            "__attribute__((section(\".gopclntab\"), used)) static const char table[] = \"functions\";";
        let note = "__asm__(\".section .note.any, \\\"a\\\", @note\\n .long 4, 4, 4\\n .asciz \\\"Go\\\"\\n .byte 0\\n .ascii \\\"1234\\\"\\n\");";
        for stripped in [false, true] {
            assert_eq!(found_in(table, stripped), Some("Go"), "{stripped}");
            assert_eq!(found_in(note, stripped), Some("Go"), "{stripped}");
        }
        assert_eq!(found_in("int caml_frametable[2] = {1};", true), Some("OCaml"));
        assert_eq!(found_in("void __morestack(void) {}", true), Some("split stacks"));
        assert_eq!(found_in("int plain(void) { return 1; }", false), None);
    }
}
