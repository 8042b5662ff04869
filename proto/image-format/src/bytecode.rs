use std::path::Path;

use object::elf;
use object::read::elf::{ElfFile64, FileHeader as _};
use object::{Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

use crate::called::Called;
use crate::{BtfError, Endian, Labels, btf, vocabulary};

/// Maximum size of an object file, in bytes, packed or unpacked (16 MiB).
pub const ELF_LIMIT: u64 = 16 << 20;

/// Reason why a file is not an object that an image can carry.
#[derive(Debug, thiserror::Error)]
pub enum BytecodeError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Path of the file.
        path: String,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The path has no last component for the name of the layer's file, or one that is not UTF-8.
    #[error("`{0}` has no usable file name")]
    FileName(String),
    #[error("{name} has {size} bytes; an object may have at most {ELF_LIMIT}")]
    TooLarge {
        /// Name of the file.
        name: String,
        /// Size of the file, in bytes.
        size: u64,
    },
    #[error("{name} is not a readable 64-bit ELF file: {why}")]
    NotElf {
        /// Name of the file.
        name: String,
        /// Defect of the file.
        why: String,
    },
    #[error("{name} is an ELF file for machine {machine}, not for eBPF (247)")]
    Machine {
        /// Name of the file.
        name: String,
        /// `e_machine`.
        machine: u16,
    },
    #[error("{name} is of ELF type {kind}, not a relocatable object (1)")]
    NotRelocatable {
        /// Name of the file.
        name: String,
        /// `e_type`.
        kind: u16,
    },
    #[error("{name} is {found}, but {platform} needs {expected}")]
    Endian {
        /// Name of the file.
        name: String,
        /// Byte order of the file.
        found: Endian,
        /// Byte order of the platform.
        expected: Endian,
        /// Platform of the image.
        platform: String,
    },
    #[error("the BTF of {name} is unreadable: {source}")]
    Btf {
        /// Name of the file.
        name: String,
        /// Defect of the BTF.
        source: BtfError,
    },
    /// The file has no program of a type that images carry.
    #[error("{name} holds no program of a supported type; sections with functions: {sections}")]
    NoPrograms {
        /// Name of the file.
        name: String,
        /// Sections that hold functions.
        sections: String,
    },
}

/// Checks that `bytes` are a relocatable eBPF object, and returns its byte order. `name` is only for the error.
pub fn check_object(name: &str, bytes: &[u8]) -> Result<Endian, BytecodeError> {
    parse(name, bytes).map(|(_, endian)| endian)
}

pub(crate) type File<'a> = ElfFile64<'a, Endianness>;

fn parse<'a>(name: &str, bytes: &'a [u8]) -> Result<(File<'a>, Endian), BytecodeError> {
    let size = bytes.len() as u64;
    if size > ELF_LIMIT {
        return Err(BytecodeError::TooLarge { name: name.to_owned(), size });
    }
    let not_elf =
        |why: &dyn std::fmt::Display| BytecodeError::NotElf { name: name.to_owned(), why: why.to_string() };
    let header = elf::FileHeader64::<Endianness>::parse(bytes).map_err(|e| not_elf(&e))?;
    let order = header.endian().map_err(|e| not_elf(&e))?;
    let machine = header.e_machine(order).0;
    if machine != elf::EM_BPF.0 {
        return Err(BytecodeError::Machine { name: name.to_owned(), machine });
    }
    let kind = header.e_type(order).0;
    if kind != elf::ET_REL.0 {
        return Err(BytecodeError::NotRelocatable { name: name.to_owned(), kind });
    }
    let file = File::parse(bytes).map_err(|e| not_elf(&e))?;
    Ok((file, if order == Endianness::Little { Endian::Little } else { Endian::Big }))
}

/// Object file for an image, checked, with its labels.
#[derive(Clone, Debug)]
pub struct BytecodeFile {
    file_name: String,
    bytes: Vec<u8>,
    endian: Endian,
    labels: Labels,
}

impl BytecodeFile {
    /// Reads and checks the file at `path`.
    pub fn read(path: &Path) -> Result<Self, BytecodeError> {
        let shown = path.display().to_string();
        let file_name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| BytecodeError::FileName(shown.clone()))?;
        let failed = |source| BytecodeError::Read { path: shown.clone(), source };
        // Check the size first, so that a huge file is not read.
        let size = std::fs::metadata(path).map_err(failed)?.len();
        if size > ELF_LIMIT {
            return Err(BytecodeError::TooLarge { name: shown, size });
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        Self::parse(file_name, bytes)
    }

    /// Checks `bytes`, to be stored in an image as `file_name`.
    pub fn parse(file_name: &str, bytes: Vec<u8>) -> Result<Self, BytecodeError> {
        if file_name.is_empty() || file_name.contains('/') || file_name == "." || file_name == ".." {
            return Err(BytecodeError::FileName(file_name.to_owned()));
        }
        let (file, endian) = parse(file_name, &bytes)?;
        let labels = labels(file_name, &file, endian)?;
        Ok(Self { file_name: file_name.to_owned(), bytes, endian, labels })
    }

    /// Returns the file's name, without folders.
    #[must_use]
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    /// Returns the contents of the file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the byte order.
    #[must_use]
    pub fn endian(&self) -> Endian {
        self.endian
    }

    /// Returns the object's programs and maps.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.labels
    }
}

fn labels(name: &str, file: &File<'_>, endian: Endian) -> Result<Labels, BytecodeError> {
    let not_elf = |e: object::Error| BytecodeError::NotElf { name: name.to_owned(), why: e.to_string() };
    let mut labels = Labels::default();
    let mut sections = Vec::new();
    let called = Called::read(file, endian);
    for symbol in file.symbols() {
        if symbol.kind() != SymbolKind::Text || symbol.is_undefined() {
            continue;
        }
        let Some(index) = symbol.section_index() else { continue };
        // A function outside .text is a program, unless it is static and called by other functions.
        if symbol.is_local() && called.has(index, symbol.address()) {
            continue;
        }
        let section = file.section_by_index(index).map_err(not_elf)?;
        let section = section.name().map_err(not_elf)?;
        if let Some(word) = vocabulary::program_type_of_section(section) {
            let name = symbol.name().map_err(not_elf)?;
            // Of several functions of one name, the global one is the program.
            if !symbol.is_local() || !labels.programs.contains_key(name) {
                labels.programs.insert(name.to_owned(), word.to_owned());
            }
        } else {
            sections.push(section.to_owned());
        }
    }
    if labels.programs.is_empty() {
        sections.sort_unstable();
        sections.dedup();
        let sections = if sections.is_empty() { "none".to_owned() } else { sections.join(", ") };
        return Err(BytecodeError::NoPrograms { name: name.to_owned(), sections });
    }
    if let Some(section) = file.section_by_name(".BTF") {
        let found = btf::maps(section.data().map_err(not_elf)?, endian)
            .map_err(|source| BytecodeError::Btf { name: name.to_owned(), source })?;
        labels.maps.extend(found.into_iter().map(|(name, kind)| (name, vocabulary::map_type_word(kind))));
    }
    legacy_maps(file, endian, &mut labels).map_err(not_elf)?;
    // Maps that the compiler makes for global variables are not an interface.
    labels.maps.retain(|name, _| ![".rodata", ".bss", ".data"].iter().any(|part| name.contains(part)));
    Ok(labels)
}

/// Reads the section `maps`: structs that begin with the type (before libbpf 1.0).
fn legacy_maps(file: &File<'_>, endian: Endian, labels: &mut Labels) -> object::Result<()> {
    let Some(section) = file.section_by_name("maps") else { return Ok(()) };
    let data = section.data()?;
    for symbol in file.symbols() {
        if symbol.section_index() != Some(section.index()) || symbol.kind() == SymbolKind::Section {
            continue;
        }
        let name = symbol.name()?;
        let word = usize::try_from(symbol.address())
            .ok()
            .and_then(|at| data.get(at..at.checked_add(4)?))
            .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        if let Some(word) = word.filter(|_| !name.is_empty()) {
            let kind =
                if endian == Endian::Little { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) };
            labels.maps.insert(name.to_owned(), vocabulary::map_type_word(kind));
        }
    }
    Ok(())
}
