use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

use bpfman_model::BtfId;

use super::attr::{self, BtfInfo, Command};
use super::{facts, sys, verifier_log};
use crate::KernelError;

pub fn load(bytes: &[u8]) -> Result<OwnedFd, KernelError> {
    let mut request =
        attr::BtfLoad { btf: bytes.as_ptr() as u64, btf_size: bytes.len() as u32, ..Default::default() };
    sys::bpf_fd(Command::BtfLoad, &mut request).map_err(|source| {
        // Some of the kernel's errors have no text (524, ENOTSUPP). The log contains more.
        let words = (!is_for_lack(&source)).then(|| refusal_of(bytes)).flatten();
        let source = match words {
            Some(words) => io::Error::new(source.kind(), words),
            None => source,
        };
        KernelError::call("load", format!("BTF of {} bytes", bytes.len()), source)
    })
}

/// Returns whether resources or rights were lacking: such an error does not depend on the types.
pub fn is_for_lack(source: &io::Error) -> bool {
    matches!(source.raw_os_error(), Some(libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::EPERM))
}

fn refusal_of(bytes: &[u8]) -> Option<String> {
    const LOG_LEVEL: u32 = 1;
    let (_, log) = verifier_log::growing(|log| {
        let mut request = attr::BtfLoad {
            btf: bytes.as_ptr() as u64,
            btf_size: bytes.len() as u32,
            btf_log_buf: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
            btf_log_size: log.len() as u32,
            btf_log_level: if log.is_empty() { 0 } else { LOG_LEVEL },
            ..Default::default()
        };
        sys::bpf_fd(Command::BtfLoad, &mut request)
    });
    facts::text(&log).lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
}

pub fn blob(types: &[u32], names: &[u8]) -> Vec<u8> {
    const HEADER: u32 = 24;
    let bytes = (types.len() * 4) as u32;
    let mut btf = Vec::new();
    btf.extend(0xeb9f_u16.to_ne_bytes());
    btf.extend([1, 0]); // version and flags
    for word in [HEADER, 0, bytes, bytes, names.len() as u32].iter().chain(types) {
        btf.extend(word.to_ne_bytes());
    }
    btf.extend(names);
    btf
}

pub const FOLDER: &str = "/sys/kernel/btf";

/// Returns the BTF of modules by name. Modules may be unloaded between the reads.
pub fn modules() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(FOLDER)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().filter(|name| *name != "vmlinux").map(str::to_owned)
        else {
            continue;
        };
        match std::fs::read(entry.path()) {
            Ok(bytes) => found.push((name, bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Opens the BTF of a module. Reads the names of all, since the kernel finds BTF only by id.
pub fn of_module(name: &str) -> Result<OwnedFd, KernelError> {
    let fail = |source| KernelError::call("open", format!("the types of kernel module {name}"), source);
    for id in facts::btf_ids().map_err(fail)? {
        let Some(btf) = facts::open(Command::BtfGetFdById, id).map_err(fail)? else { continue };
        let mut text = [0_u8; 64];
        let mut info =
            BtfInfo { name: text.as_mut_ptr() as u64, name_len: text.len() as u32, ..BtfInfo::default() };
        // A name that does not fit belongs to no module.
        let is_described = sys::info(&btf, &mut info).is_ok();
        if is_described && info.kernel_btf != 0 && facts::text(&text) == name {
            return Ok(btf);
        }
    }
    Err(fail(io::Error::new(io::ErrorKind::NotFound, "it is not loaded")))
}

/// Reuses a map's own BTF object if it holds the same bytes: the verifier treats types loaded twice as different in
/// lists, trees and pointers to a program's own types.
pub fn of_maps_or_new(bytes: &[u8], maps: &[OwnedFd]) -> Result<OwnedFd, KernelError> {
    let ids: BTreeSet<BtfId> = maps.iter().filter_map(|map| facts::map_btf(map).ok().flatten()).collect();
    let same = ids.into_iter().find_map(|id| same(id, bytes).ok().flatten());
    same.map_or_else(|| load(bytes), Ok)
}

pub fn of_program(program: &OwnedFd) -> io::Result<Option<Vec<u8>>> {
    let Some(id) = facts::program(program)?.btf_id else { return Ok(None) };
    let Some(btf) = facts::open(Command::BtfGetFdById, id.0)? else { return Ok(None) };
    contents(&btf, size(&btf)?).map(Some)
}

fn same(id: BtfId, bytes: &[u8]) -> io::Result<Option<OwnedFd>> {
    let Some(btf) = facts::open(Command::BtfGetFdById, id.0)? else { return Ok(None) };
    let size = size(&btf)?;
    if size != bytes.len() || contents(&btf, size)? != bytes {
        return Ok(None);
    }
    Ok(Some(btf))
}

fn size(btf: &OwnedFd) -> io::Result<usize> {
    let mut info = BtfInfo::default();
    sys::info(btf, &mut info)?;
    Ok(info.btf_size as usize)
}

fn contents(btf: &OwnedFd, size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0_u8; size];
    let mut info =
        BtfInfo { btf: bytes.as_mut_ptr() as u64, btf_size: bytes.len() as u32, ..BtfInfo::default() };
    sys::info(btf, &mut info)?;
    bytes.truncate(info.btf_size as usize);
    Ok(bytes)
}
