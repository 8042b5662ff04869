//! Check whether a place in a binary may be probed. A breakpoint replaces the first byte of an instruction. Inside an
//! instruction it changes the meaning of the instruction, in every process that runs the file.

use std::os::unix::fs::FileExt as _;

use iced_x86::{Decoder, DecoderOptions};

use super::elf_symbols::{self, CoveringFunction, InstructionSet, PlaceInFile};
use super::symbols::TargetFile;
use crate::ProbeTargetError;

/// Most bytes of a function that are decoded.
const LARGEST: u64 = 4 << 20;

/// Checks an offset of a file.
///
/// # Errors
/// [`ProbeTargetError::UnknownPlace`] if the file does not show what is there; [`ProbeTargetError::NoCode`],
/// [`ProbeTargetError::InsideInstruction`] and [`ProbeTargetError::ReturnInside`] if a probe would certainly change the
/// data of processes, or end them.
pub fn check(file: &TargetFile, offset: u64, on_return: bool) -> Result<(), ProbeTargetError> {
    let unknown = |why| ProbeTargetError::UnknownPlace { path: file.path().to_owned(), offset, why };
    let function = match elf_symbols::place(file, offset).map_err(|_| unknown("the file is no binary"))? {
        PlaceInFile::Function(function) => function,
        PlaceInFile::FunctionStart => return Ok(()),
        PlaceInFile::Code => return Err(unknown("no function with a size covers it")),
        PlaceInFile::Data => return Err(ProbeTargetError::NoCode { path: file.path().to_owned(), offset }),
    };
    if on_return && offset != function.start {
        let path = file.path().to_owned();
        return Err(ProbeTargetError::ReturnInside { path, offset, function: function.name });
    }
    let begins = match function.set {
        InstructionSet::X86 { bits } => decoded(file, &function, offset, bits).map_err(unknown)?,
        InstructionSet::Words => offset & !3,
        InstructionSet::Other => return Err(unknown("the instructions of its machine are not known here")),
    };
    if begins == offset {
        return Ok(());
    }
    let path = file.path().to_owned();
    Err(ProbeTargetError::InsideInstruction { path, offset, function: function.name, begins })
}

/// Returns the beginning of the instruction that contains an offset, decoded from the start of the function.
fn decoded(
    file: &TargetFile,
    function: &CoveringFunction,
    offset: u64,
    bits: u32,
) -> Result<u64, &'static str> {
    if function.size > LARGEST {
        return Err("the function around it is too large");
    }
    let mut bytes = vec![0; usize::try_from(function.size).unwrap_or_default()];
    file.file().read_exact_at(&mut bytes, function.start).map_err(|_| "its file is too short")?;
    let mut decoder = Decoder::with_ip(bits, &bytes, function.start, DecoderOptions::NONE);
    while decoder.can_decode() {
        let insn = decoder.decode();
        if insn.is_invalid() {
            return Err("what stands before it in its function are no instructions");
        }
        if insn.next_ip() > offset {
            return Ok(insn.ip());
        }
    }
    Err("it is behind the last instruction of its function")
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::process::Command;

    use super::*;

    /// Library with one function of known bytes: `push %rbp; mov %rsp,%rbp; movabs $0x1122334455667788,%rax; pop; ret`.
    #[cfg(target_arch = "x86_64")]
    const SOURCE: &str = "__attribute__((naked)) void known(void) { __asm__(\
        \".byte 0x55, 0x48, 0x89, 0xe5, 0x48, 0xb8, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x5d, 0xc3\"); }\n\
        int data = 1;\n";

    /// Library with one function of four instructions: `nop; nop; nop; ret`.
    #[cfg(target_arch = "aarch64")]
    const SOURCE: &str = "__attribute__((naked)) void known(void) { __asm__(\
        \".inst 0xd503201f, 0xd503201f, 0xd503201f, 0xd65f03c0\"); }\n\
        int data = 1;\n";

    fn library(folder: &std::path::Path) -> TargetFile {
        let (source, library) = (folder.join("known.c"), folder.join("known.so"));
        fs::write(&source, SOURCE).unwrap();
        let built =
            Command::new("clang").args(["-shared", "-nostdlib", "-o"]).args([&library, &source]).status();
        assert!(built.unwrap().success());
        TargetFile::new(File::open(&library).unwrap(), library)
    }

    #[test]
    fn only_first_bytes_of_instructions_are_places_and_only_beginnings_are_places_of_return_probes() {
        let folder = tempfile::tempdir().unwrap();
        let file = library(folder.path());
        let start = elf_symbols::file_offset(&file, "known").unwrap();
        for inside in 0..16 {
            let found = check(&file, start + inside, false);
            let begins: &[u64] =
                if cfg!(target_arch = "x86_64") { &[0, 1, 4, 14, 15] } else { &[0, 4, 8, 12] };
            let is_first = begins.contains(&inside);
            assert_eq!(found.is_ok(), is_first, "{inside}: {found:?}");
            let refused = matches!(found, Err(ProbeTargetError::InsideInstruction { .. }));
            assert_eq!(refused, !is_first, "{inside}");
            assert_eq!(check(&file, start + inside, true).is_ok(), inside == 0, "{inside}");
        }
        for outside in [start - 1, start + 16] {
            let found = check(&file, outside, false);
            let is_unknown = matches!(found, Err(ProbeTargetError::UnknownPlace { .. }));
            assert!(
                is_unknown || matches!(found, Err(ProbeTargetError::NoCode { .. })),
                "{outside}: {found:?}"
            );
        }
        for data in [elf_symbols::file_offset(&file, "data").unwrap(), u64::MAX] {
            let found = check(&file, data, false);
            assert!(matches!(found, Err(ProbeTargetError::NoCode { .. })), "{data}: {found:?}");
        }
    }

    #[test]
    fn nothing_is_known_of_what_is_no_binary() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        fs::write(&path, "no binary at all").unwrap();
        let file = TargetFile::new(File::open(&path).unwrap(), path);
        assert!(matches!(check(&file, 0, false), Err(ProbeTargetError::UnknownPlace { .. })));
    }

    /// Every offset of a function of a real library that the decoder takes for a beginning is one for the disassembler
    /// too.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_c_library_is_decoded_as_others_decode_it() {
        let path = std::path::PathBuf::from("/lib/x86_64-linux-gnu/libc.so.6");
        let Ok(file) = File::open(&path) else { return };
        let file = TargetFile::new(file, path.clone());
        let start = elf_symbols::file_offset(&file, "malloc").unwrap();
        let PlaceInFile::Function(function) = elf_symbols::place(&file, start).unwrap() else {
            panic!("no function")
        };
        // The code of this library is loaded at addresses equal to its offsets.
        let range = [format!("--start-address={start}"), format!("--stop-address={}", start + function.size)];
        let listed = Command::new("objdump").arg("-d").args(range).arg(&path).output();
        let Some(listed) = listed.ok().filter(|listed| listed.status.success()) else { return };
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let line = |line: &str| u64::from_str_radix(line.split_once(":\t")?.0.trim(), 16).ok();
        // A long instruction takes several lines; the later lines have no text.
        let whole = |text: &&str| text.split('\t').count() >= 3;
        let begins: Vec<u64> = listed.lines().filter(whole).filter_map(line).collect();
        assert_eq!(begins.first(), Some(&start));
        for at in start..start + function.size {
            assert_eq!(check(&file, at, false).is_ok(), begins.contains(&at), "malloc at {at:#x}");
        }
    }
}
