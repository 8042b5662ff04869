use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use bpfman_examples::failure::Failure;
use object::read::elf::{ElfFile64, FileHeader as _};
use object::{Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, ReadCache, ReadRef, elf};

use super::returns;

pub const READ: &str = "crypto/tls.(*Conn).Read";
pub const WRITE: &str = "crypto/tls.(*Conn).Write";

/// Maximum size of a probed function, in bytes: `READ` and `WRITE` have 1 and 2 KiB in Go 1.19.
const MAX_FUNCTION: u64 = 1 << 20;
const BUILD_INFO: &[u8] = b"\xff Go buildinf:";
const FLAGS_AT: usize = 15;
const VERSION_AT: usize = 32;
const FLAG_WRITTEN: u8 = 2;

#[derive(Debug, PartialEq, Eq)]
pub struct GoProgram {
    pub version: String,
    pub read: Vec<u64>,
    pub write: Vec<u64>,
}

impl GoProgram {
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display();
        let file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Failure::not_found(format!("no file {name}"), "name the file of a Go program by its path")
                    .into()
            }
            _ => anyhow!(error).context(format!("cannot open {name}")),
        })?;
        let metadata = file.metadata().with_context(|| format!("cannot read {name}"))?;
        if !metadata.is_file() {
            return Err(
                Failure::invalid(format!("{name} is no file"), "name the file of a Go program").into()
            );
        }
        Self::parse(&ReadCache::new(file)).map_err(|failure| failure.naming(path).into())
    }

    fn parse<'a>(bytes: impl ReadRef<'a>) -> Result<Self, NoProbes> {
        let binary = ElfFile64::<Endianness, _>::parse(bytes).map_err(|_| NoProbes::NoBinary)?;
        let version = version(&binary)?;
        let machine = binary.elf_header().e_machine(binary.endian());
        if machine != HERE {
            return Err(NoProbes::OtherMachine);
        }
        if binary.symbols().next().is_none() {
            return Err(NoProbes::Stripped);
        }
        let returns = |function| {
            let code = code(&binary, function)?;
            let found = returns::of(code).ok_or(NoProbes::Unreadable(function))?;
            if found.is_empty() { Err(NoProbes::Unreadable(function)) } else { Ok(found) }
        };
        Ok(Self { version, read: returns(READ)?, write: returns(WRITE)? })
    }
}

#[cfg(target_arch = "aarch64")]
const HERE: elf::Machine = elf::EM_AARCH64;
#[cfg(not(target_arch = "aarch64"))]
const HERE: elf::Machine = elf::EM_X86_64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoProbes {
    NoBinary,
    NoGo,
    TooOld,
    OtherMachine,
    Stripped,
    NoTls(&'static str),
    Unreadable(&'static str),
}

impl NoProbes {
    fn naming(self, path: &Path) -> Failure {
        let name = path.display();
        let (message, hint) = match self {
            Self::NoBinary => (
                format!("{name} is no program: it is no ELF file of 64 bits"),
                "name the file of a Go program",
            ),
            Self::NoGo => (
                format!("{name} is no Go program: it has no section .go.buildinfo"),
                "programs that use OpenSSL are seen at its library",
            ),
            Self::TooOld => (
                format!(
                    "{name} was built by Go 1.17 or older: its functions get their arguments in other places"
                ),
                "build it with Go 1.18 or newer",
            ),
            Self::OtherMachine => {
                (format!("{name} is built for another kind of machine"), "name a program that runs here")
            }
            Self::Stripped => (
                format!(
                    "{name} is stripped: it has no table of symbols, which shows where its functions are"
                ),
                "build it without `-ldflags=-s` and do not strip it; `-ldflags=-w` alone keeps the table",
            ),
            Self::NoTls(function) => (
                format!("{name} has no function {function}"),
                "it does not use Go's crypto/tls, or its names were changed when it was built",
            ),
            Self::Unreadable(function) => (
                format!("{name}: it is unknown where {function} returns"),
                "what stands there are no instructions as Go makes them; was the file changed?",
            ),
        };
        Failure::invalid(message, hint)
    }
}

/// Returns the Go version. All versions that the file stores this way pass arguments in registers.
fn version<'a>(binary: &ElfFile64<'a, Endianness, impl ReadRef<'a>>) -> Result<String, NoProbes> {
    let section = binary.section_by_name(".go.buildinfo").ok_or(NoProbes::NoGo)?;
    let info = section.data().map_err(|_| NoProbes::NoGo)?;
    let flags = info.get(FLAGS_AT).filter(|_| info.starts_with(BUILD_INFO)).ok_or(NoProbes::NoGo)?;
    if flags & FLAG_WRITTEN == 0 {
        return Err(NoProbes::TooOld);
    }
    // The version follows its length, which has one byte because versions are shorter than 128 bytes.
    let version = info
        .get(VERSION_AT)
        .and_then(|length| info.get(VERSION_AT + 1..)?.get(..usize::from(*length)))
        .ok_or(NoProbes::NoGo)?;
    Ok(String::from_utf8_lossy(version).into_owned())
}

fn code<'a>(
    binary: &ElfFile64<'a, Endianness, impl ReadRef<'a>>,
    function: &'static str,
) -> Result<&'a [u8], NoProbes> {
    let symbol = binary
        .symbols()
        .find(|symbol| symbol.is_definition() && symbol.name() == Ok(function))
        .ok_or(NoProbes::NoTls(function))?;
    if symbol.size() == 0 || symbol.size() > MAX_FUNCTION {
        return Err(NoProbes::Unreadable(function));
    }
    let section = symbol.section_index().and_then(|index| binary.section_by_index(index).ok());
    section
        .and_then(|section| section.data_range(symbol.address(), symbol.size()).ok()?)
        .ok_or(NoProbes::Unreadable(function))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_go_program_is_refused_with_reason() {
        assert_eq!(GoProgram::parse(&b"#!/bin/sh\n"[..]), Err(NoProbes::NoBinary));
        assert_eq!(GoProgram::parse(&b"\x7fELF\x02\x01\x01"[..]), Err(NoProbes::NoBinary));
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(GoProgram::parse(&*own), Err(NoProbes::NoGo));
    }
}
