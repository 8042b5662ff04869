use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use bpfman_model::uapi::attach_type;
use bpfman_model::{MapId, map_type};

use super::attr::{self, Command};
use super::load::kernel_name;
use super::{facts, links, sys};
use crate::{KernelError, StructOpsSpec};

/// With this flag, a link registers the struct_ops; without it, filling the map does.
const F_LINK: u32 = 1 << 13;

fn request(name: &str, value_size: u32, value: u32) -> attr::MapCreate {
    attr::MapCreate {
        map_type: map_type::STRUCT_OPS,
        key_size: size_of::<u32>() as u32,
        value_size,
        max_entries: 1,
        map_flags: F_LINK,
        map_name: kernel_name(name),
        btf_vmlinux_value_type_id: value,
        ..Default::default()
    }
}

/// Names a missing value type: a kernel with links looks it up (ENOTSUPP); others refuse the flag.
pub fn has_links() -> bool {
    let error = sys::bpf_fd(Command::MapCreate, &mut request("probe", 8, u32::MAX)).err();
    error.and_then(|error| error.raw_os_error()) == Some(sys::ENOTSUPP)
}

pub fn create(spec: &StructOpsSpec<'_>, btf: &OwnedFd, has_links: bool) -> Result<OwnedFd, KernelError> {
    let mut request = attr::MapCreate {
        btf_fd: btf.as_raw_fd(),
        map_flags: if has_links { F_LINK } else { 0 },
        ..request(spec.name, spec.value_size, spec.value)
    };
    sys::bpf_fd(Command::MapCreate, &mut request)
        .map_err(|source| KernelError::call("create", format!("map \"{}\"", spec.name), source))
}

pub fn fill(map: &OwnedFd, value: &[u8], programs: &[(u32, &OwnedFd)]) -> Result<(), KernelError> {
    let fail = |source| KernelError::call("fill", "a struct_ops map", source);
    let invalid = |why: String| fail(io::Error::new(io::ErrorKind::InvalidInput, why));
    let (map_type, key_size, value_size) = facts::map_layout(map).map_err(fail)?;
    let key = 0_u32;
    // The kernel reads as many bytes as the map defines, whatever the addresses point to.
    if (map_type, key_size as usize, value_size as usize)
        != (map_type::STRUCT_OPS, size_of_val(&key), value.len())
    {
        return Err(invalid(format!("{} bytes are no value of a map of type {map_type}", value.len())));
    }
    let mut value = value.to_vec();
    for (at, program) in programs {
        // The field is a pointer, and the kernel reads all its bytes as one number.
        let place = *at as usize..(*at as usize).saturating_add(size_of::<u64>());
        let place = value.get_mut(place).ok_or_else(|| invalid(format!("byte {at} is outside")))?;
        let descriptor: RawFd = program.as_raw_fd();
        place.copy_from_slice(&u64::from(descriptor.cast_unsigned()).to_ne_bytes());
    }
    let mut request = attr::MapElement {
        map_fd: map.as_raw_fd(),
        key: (&raw const key) as u64,
        value: value.as_ptr() as u64,
        ..Default::default()
    };
    sys::bpf(Command::MapUpdateElem, &mut request).map(drop).map_err(fail)
}

pub fn attach(map: MapId) -> Result<OwnedFd, KernelError> {
    let fail = |source| KernelError::call("attach", format!("the functions of map {map}"), source);
    let held = facts::open(Command::MapGetFdById, map.0).map_err(fail)?;
    let held = held.ok_or_else(|| fail(io::Error::from_raw_os_error(libc::ENOENT)))?;
    let mut request = attr::LinkCreate {
        // For struct_ops, the field of the program holds the map.
        prog_fd: held.as_raw_fd(),
        attach_type: attach_type::STRUCT_OPS,
        ..Default::default()
    };
    sys::bpf_fd(Command::LinkCreate, &mut request).map_err(|source| match source.raw_os_error() {
        Some(libc::EEXIST | libc::EBUSY) => KernelError::struct_ops_held(map),
        _ => fail(source),
    })
}

pub fn replace(link: &OwnedFd, map: &OwnedFd, expected: &OwnedFd) -> Result<(), KernelError> {
    links::update("swap the functions", link, map, expected)
}
