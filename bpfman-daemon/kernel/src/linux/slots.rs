use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::attr::{self, Command};
use super::{facts, sys};
use crate::KernelError;
use bpfman_model::ProgramId;
use bpfman_model::map_type::{ARRAY_OF_MAPS, HASH_OF_MAPS, PROG_ARRAY};

pub fn fill(map: &OwnedFd, slot: u32, value: &OwnedFd) -> Result<(), KernelError> {
    let fail = |source| KernelError::call("fill", format!("slot {slot} of a map"), source);
    let value = value.as_raw_fd();
    check_slots(map).map_err(fail)?;
    let mut request = attr::MapElement {
        map_fd: map.as_raw_fd(),
        key: (&raw const slot) as u64,
        value: (&raw const value) as u64,
        ..Default::default()
    };
    sys::bpf(Command::MapUpdateElem, &mut request).map(drop).map_err(fail)
}

pub fn program(map: &OwnedFd, slot: u32) -> Result<Option<ProgramId>, KernelError> {
    let fail = |source| KernelError::call("read", format!("slot {slot} of a map"), source);
    check_slots(map).map_err(fail)?;
    let mut value = 0_u32;
    let mut request = attr::MapElement {
        map_fd: map.as_raw_fd(),
        key: (&raw const slot) as u64,
        value: (&raw mut value) as u64,
        ..Default::default()
    };
    match sys::bpf(Command::MapLookupElem, &mut request) {
        Ok(_) => Ok(Some(ProgramId(value))),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(source) => Err(fail(source)),
    }
}

pub fn bind(program: &OwnedFd, map: &OwnedFd) -> Result<(), KernelError> {
    let mut request = attr::BindMap { prog_fd: program.as_raw_fd(), map_fd: map.as_raw_fd(), flags: 0 };
    let fail = |source| KernelError::call("bind", "a map to a program", source);
    sys::bpf(Command::ProgBindMap, &mut request).map(drop).map_err(fail)
}

pub fn clear(map: &OwnedFd, slot: u32) -> Result<(), KernelError> {
    let fail = |source| KernelError::call("empty", format!("slot {slot} of a map"), source);
    check_slots(map).map_err(fail)?;
    let mut request =
        attr::MapElement { map_fd: map.as_raw_fd(), key: (&raw const slot) as u64, ..Default::default() };
    match sys::bpf(Command::MapDeleteElem, &mut request) {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(source) => Err(fail(source)),
    }
}

/// Refuses maps without slots: the kernel reads as many bytes of key and value (for each CPU) as the map defines.
fn check_slots(map: &OwnedFd) -> io::Result<()> {
    const SLOT: u32 = size_of::<u32>() as u32;
    let (map_type, key_size, value_size) = facts::map_layout(map)?;
    if matches!(map_type, PROG_ARRAY | ARRAY_OF_MAPS | HASH_OF_MAPS) && (key_size, value_size) == (SLOT, SLOT)
    {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "the map is of type {map_type} with keys of {key_size} and values of {value_size} bytes; slots are in maps of programs or maps, with keys of 4 bytes"
        ),
    ))
}
