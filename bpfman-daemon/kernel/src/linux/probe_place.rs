//! Check of a place to probe. A breakpoint replaces the first byte of an instruction; inside one, it changes the
//! instruction, in every process that runs the file.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt as _;

use iced_x86::{Decoder, DecoderOptions};

use super::elf_places::{self, CoveringFunction, InstructionSet, PlaceInFile};
use super::symbols::TargetFile;
use crate::ProbeTargetError;

const MAX_FUNCTION: u64 = 4 << 20;

const MAX_DECODED: u64 = 64 << 20;

/// [`ProbeTargetError::UnknownPlace`]: the file lacks the information. Other errors: the probe would do harm.
#[cfg(test)]
pub fn check(file: &TargetFile, offset: u64, on_return: bool) -> Result<(), ProbeTargetError> {
    check_all(file, &[offset], on_return).remove(0)
}

/// Reads symbols, and decodes each function, once for all offsets.
pub fn check_all(file: &TargetFile, offsets: &[u64], on_return: bool) -> Vec<Result<(), ProbeTargetError>> {
    let unknown = |offset, why| ProbeTargetError::UnknownPlace { path: file.path().to_owned(), offset, why };
    let Ok(places) = elf_places::places(file, offsets) else {
        return offsets.iter().map(|offset| Err(unknown(*offset, "the file is no binary"))).collect();
    };
    let mut decoded = DecodedFunctions { file, offsets, functions: BTreeMap::new(), bytes: 0 };
    let check = |(offset, place): (&u64, PlaceInFile)| {
        let (offset, path) = (*offset, || file.path().to_owned());
        let function = match place {
            PlaceInFile::Function(function) => function,
            PlaceInFile::FunctionStart => return Ok(()),
            PlaceInFile::Code => return Err(unknown(offset, "no function with a size covers it")),
            PlaceInFile::Data => return Err(ProbeTargetError::NoCode { path: path(), offset }),
        };
        if on_return && offset != function.start {
            return Err(ProbeTargetError::ReturnInside { path: path(), offset, function: function.name });
        }
        let begins = match function.set {
            InstructionSet::X86 { bits } => {
                decoded.begin_of(&function, offset, bits).map_err(|why| unknown(offset, why))?
            }
            InstructionSet::Words => offset & !3,
            InstructionSet::Other => {
                return Err(unknown(offset, "the instructions of its machine are not known here"));
            }
        };
        match begins == offset {
            true => Ok(()),
            false => Err(ProbeTargetError::InsideInstruction {
                path: path(),
                offset,
                function: function.name,
                begins,
            }),
        }
    };
    offsets.iter().zip(places).map(check).collect()
}

type InstructionStarts = BTreeMap<u64, Result<u64, &'static str>>;

struct DecodedFunctions<'a> {
    file: &'a TargetFile,
    offsets: &'a [u64],
    functions: BTreeMap<(u64, u64), InstructionStarts>,
    bytes: u64,
}

impl DecodedFunctions<'_> {
    fn begin_of(&mut self, function: &CoveringFunction, offset: u64, bits: u32) -> Result<u64, &'static str> {
        let key = (function.start, function.size);
        if !self.functions.contains_key(&key) {
            self.bytes = self.bytes.saturating_add(function.size);
            if function.size > MAX_FUNCTION {
                return Err("the function around it is too large");
            }
            if self.bytes > MAX_DECODED {
                return Err("the functions around all places are too large together");
            }
            let inside = |offset: &&u64| offset.checked_sub(key.0).is_some_and(|inside| inside < key.1);
            let inside: BTreeSet<u64> = self.offsets.iter().filter(inside).copied().collect();
            self.functions.insert(key, decoded(self.file, function, inside, bits)?);
        }
        let found = self.functions.get(&key).and_then(|found| found.get(&offset));
        found.copied().unwrap_or(Err("it is behind the last instruction of its function"))
    }
}

fn decoded(
    file: &TargetFile,
    function: &CoveringFunction,
    offsets: BTreeSet<u64>,
    bits: u32,
) -> Result<InstructionStarts, &'static str> {
    let mut bytes = vec![0; usize::try_from(function.size).unwrap_or_default()];
    file.file().read_exact_at(&mut bytes, function.start).map_err(|_| "its file is too short")?;
    let mut decoder = Decoder::with_ip(bits, &bytes, function.start, DecoderOptions::NONE);
    let (mut found, mut wanted) = (BTreeMap::new(), offsets.into_iter().peekable());
    while decoder.can_decode() && wanted.peek().is_some() {
        let insn = decoder.decode();
        if insn.is_invalid() {
            let why = "what stands before it in its function are no instructions";
            found.extend(wanted.map(|offset| (offset, Err(why))));
            return Ok(found);
        }
        while let Some(offset) = wanted.next_if(|offset| *offset < insn.next_ip()) {
            found.insert(offset, Ok(insn.ip()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::process::Command;

    use super::*;
    use crate::linux::elf_symbols;

    /// One function: `push %rbp; mov %rsp,%rbp; movabs $0x1122334455667788,%rax; pop; ret`.
    #[cfg(target_arch = "x86_64")]
    const SOURCE: &str = "__attribute__((naked)) void known(void) { __asm__(\
        \".byte 0x55, 0x48, 0x89, 0xe5, 0x48, 0xb8, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x5d, 0xc3\"); }\n\
        int data = 1;\n";

    /// One function: `nop; nop; nop; ret`.
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
    fn probes_need_instruction_starts_and_return_probes_entries() {
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
    #[cfg(target_arch = "x86_64")]
    fn a_function_of_many_places_is_decoded_once() {
        let folder = tempfile::tempdir().unwrap();
        let (source, library) = (folder.path().join("large.c"), folder.path().join("large.so"));
        let code = "__attribute__((naked)) void large(void) { __asm__(\".rept 3000000\\n nop\\n .endr\\n ret\"); }\n";
        fs::write(&source, code).unwrap();
        let built =
            Command::new("clang").args(["-shared", "-nostdlib", "-o"]).args([&library, &source]).status();
        assert!(built.unwrap().success());
        let file = TargetFile::new(File::open(&library).unwrap(), library);
        let start = elf_symbols::file_offset(&file, "large").unwrap();
        let offsets: Vec<u64> = (0..4096).map(|place| start + 2_900_000 + place).collect();
        let PlaceInFile::Function(function) = elf_places::places(&file, &offsets).unwrap().remove(9) else {
            panic!("no function")
        };
        let functions = BTreeMap::new();
        let mut decoded = DecodedFunctions { file: &file, offsets: &offsets, functions, bytes: 0 };
        for offset in &offsets {
            assert_eq!(decoded.begin_of(&function, *offset, 64), Ok(*offset));
        }
        assert_eq!(decoded.bytes, function.size);
        assert!(check_all(&file, &offsets, false).iter().all(Result::is_ok));
    }

    #[test]
    fn nothing_is_known_of_what_is_no_binary() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        fs::write(&path, "no binary at all").unwrap();
        let file = TargetFile::new(File::open(&path).unwrap(), path);
        assert!(matches!(check(&file, 0, false), Err(ProbeTargetError::UnknownPlace { .. })));
    }

    /// Compares the decoder with the disassembler, on a real library.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_c_library_is_decoded_as_others_decode_it() {
        let path = std::path::PathBuf::from("/lib/x86_64-linux-gnu/libc.so.6");
        let Ok(file) = File::open(&path) else { return };
        let file = TargetFile::new(file, path.clone());
        let start = elf_symbols::file_offset(&file, "malloc").unwrap();
        let PlaceInFile::Function(function) = elf_places::places(&file, &[start]).unwrap().remove(0) else {
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
        let all: Vec<u64> = (start..start + function.size).collect();
        for (at, found) in all.iter().zip(check_all(&file, &all, false)) {
            assert_eq!(found.is_ok(), begins.contains(at), "malloc at {at:#x}");
            assert_eq!(check(&file, *at, false).is_ok(), found.is_ok(), "alone and with others");
        }
    }
}
