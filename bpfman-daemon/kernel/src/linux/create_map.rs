use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use bpfman_model::map_type::{
    ARENA, ARRAY, BLOOM_FILTER, PERF_EVENT_ARRAY, QUEUE, RINGBUF, STACK, USER_RINGBUF, ring_bytes,
};
use bpfman_model::{MapRole, MapSpec};

use super::arena;
use super::attr::{self, Command};
use super::features::page_size;
use super::load::kernel_name;
use super::{map_refusal, sys};
use crate::KernelError;

pub fn create(spec: &MapSpec, btf: Option<&OwnedFd>) -> Result<OwnedFd, KernelError> {
    let fail = |action, source| KernelError::call(action, format!("map \"{}\"", spec.name), source);
    let inner = spec.inner.as_deref().map(|inner| create(inner, None)).transpose()?;
    let mut request = attr::MapCreate {
        map_type: spec.map_type,
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: max_entries(spec).map_err(|source| fail("size", source))?,
        map_flags: spec.flags,
        inner_map_fd: inner.as_ref().map_or(0, AsRawFd::as_raw_fd),
        map_name: kernel_name(&spec.name),
        map_extra: spec.map_extra,
        numa_node: spec.numa_node,
        ..Default::default()
    };
    if let Some(btf) = btf
        && (spec.btf_key_type_id != 0 || spec.btf_value_type_id != 0)
    {
        request.btf_fd = btf.as_raw_fd();
        request.btf_key_type_id = spec.btf_key_type_id;
        request.btf_value_type_id = spec.btf_value_type_id;
    }
    let mut created = sys::bpf_fd(Command::MapCreate, &mut request);
    if created.is_err() && request.btf_fd != 0 {
        // Types are optional, and not supported for each map type: try again without them.
        (request.btf_fd, request.btf_key_type_id, request.btf_value_type_id) = (0, 0, 0);
        created = sys::bpf_fd(Command::MapCreate, &mut request);
    }
    let fd = created.map_err(|source| match unsized_property(&request) {
        Some(property) if source.raw_os_error() == Some(libc::EINVAL) => {
            KernelError::UnsizedMap { map: spec.name.clone(), property, source }
        }
        _ => refused(spec, source),
    })?;
    if spec.map_type == ARENA {
        arena::prepare(&fd, spec).map_err(|source| fail("map", source))?;
    } else if !spec.initial.is_empty() && spec.role != MapRole::Bss {
        write_globals(&fd, spec).map_err(|source| fail("fill", source))?;
    }
    if spec.role == MapRole::Rodata {
        sys::bpf(Command::MapFreeze, &mut attr::Fd { fd: fd.as_raw_fd() })
            .map_err(|source| fail("freeze", source))?;
    }
    Ok(fd)
}

fn refused(spec: &MapSpec, source: io::Error) -> KernelError {
    let error = source.raw_os_error();
    let is_about_definition = matches!(error, Some(libc::EINVAL | libc::E2BIG | sys::ENOTSUPP));
    // Only E2BIG depends on the number of processors.
    let cpus = aya::util::nr_cpus().ok().filter(|_| error == Some(libc::E2BIG));
    let cpus = cpus.map_or(u32::MAX, |cpus| cpus as u32);
    match map_refusal::reason(spec, cpus).filter(|_| is_about_definition) {
        Some(why) => KernelError::BadMap { map: spec.name.clone(), why, source },
        None => KernelError::call("create", format!("map \"{}\"", spec.name), source),
    }
}

fn unsized_property(request: &attr::MapCreate) -> Option<&'static str> {
    match request {
        attr::MapCreate { max_entries: 0, .. } => Some("max_entries"),
        // Ring buffers and arenas have neither keys nor values; queues, stacks and bloom filters have no keys.
        attr::MapCreate { map_type: RINGBUF | USER_RINGBUF | ARENA, .. } => None,
        attr::MapCreate { value_size: 0, .. } => Some("value size"),
        attr::MapCreate { map_type: QUEUE | STACK | BLOOM_FILTER, .. } => None,
        attr::MapCreate { key_size: 0, .. } => Some("key size"),
        _ => None,
    }
}

fn write_globals(fd: &OwnedFd, spec: &MapSpec) -> io::Result<()> {
    let contents = &spec.initial;
    let key = 0_u32;
    // The kernel reads as many bytes as the map defines, whatever the size of the buffer.
    if (spec.map_type, spec.key_size as usize, spec.value_size as usize)
        != (ARRAY, size_of_val(&key), contents.len())
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "it is of type {} with keys of {} and values of {} bytes; {} bytes of variables need an array of such values",
                spec.map_type,
                spec.key_size,
                spec.value_size,
                contents.len()
            ),
        ));
    }
    let mut request = attr::MapElement {
        map_fd: fd.as_raw_fd(),
        key: (&raw const key) as u64,
        value: contents.as_ptr() as u64,
        ..Default::default()
    };
    sys::bpf(Command::MapUpdateElem, &mut request).map(drop)
}

/// Returns the number of entries, or the default if the object leaves it to the loader.
fn max_entries(spec: &MapSpec) -> io::Result<u32> {
    match spec.map_type {
        PERF_EVENT_ARRAY if spec.max_entries == 0 => aya::util::nr_cpus()
            .map(|cpus| cpus as u32)
            .map_err(|(what, error)| io::Error::new(error.kind(), format!("{what}: {error}"))),
        RINGBUF | USER_RINGBUF => Ok(ring_bytes(spec.max_entries, page_size())),
        _ => Ok(spec.max_entries),
    }
}

#[cfg(test)]
mod tests {
    use bpfman_model::map_type::{ARRAY_OF_MAPS, HASH, PERCPU_ARRAY, PROG_ARRAY};

    use super::super::slots::fill as slot;
    use super::*;

    fn spec(map_type: u32, key_size: u32, value_size: u32, initial: &[u8]) -> MapSpec {
        MapSpec {
            role: MapRole::Data,
            initial: initial.to_owned(),
            ..MapSpec::sized("layout", map_type, key_size, value_size, 1)
        }
    }

    #[test]
    fn the_kernel_is_never_let_to_read_beyond_a_value() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        create(&spec(ARRAY, 4, 8, &[1; 8]), None).unwrap();
        for wrong in
            [spec(ARRAY, 4, 64, &[1; 8]), spec(HASH, 64, 8, &[1; 8]), spec(PERCPU_ARRAY, 4, 8, &[1; 8])]
        {
            let error = create(&wrong, None).unwrap_err().to_string();
            assert!(error.contains("8 bytes of variables"), "{error}");
        }
        let value = create(&spec(ARRAY, 4, 8, &[]), None).unwrap();
        for (map_type, key_size, value_size) in [(HASH, 64, 4), (HASH, 4, 64), (PERCPU_ARRAY, 4, 4)] {
            let map = create(&spec(map_type, key_size, value_size, &[]), None).unwrap();
            let error = slot(&map, 0, &value).unwrap_err().to_string();
            assert!(error.contains(&format!("keys of {key_size} and values of {value_size}")), "{error}");
        }
        let programs = create(&spec(PROG_ARRAY, 4, 4, &[]), None).unwrap();
        assert!(!slot(&programs, 0, &value).unwrap_err().to_string().contains("keys of"));
        let mut maps = spec(ARRAY_OF_MAPS, 4, 4, &[]);
        maps.inner = Some(Box::new(spec(ARRAY, 4, 8, &[])));
        slot(&create(&maps, None).unwrap(), 0, &value).unwrap();
    }

    #[test]
    fn a_map_without_a_size_is_refused_by_what_it_lacks() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let sized = |map_type, key_size, value_size, max_entries| MapSpec {
            max_entries,
            ..spec(map_type, key_size, value_size, &[])
        };
        for (spec, property) in [
            (sized(HASH, 4, 8, 0), "max_entries is 0"),
            (sized(QUEUE, 0, 8, 0), "max_entries is 0"),
            (sized(ARRAY, 4, 0, 1), "value size is 0"),
            (sized(HASH, 0, 8, 1), "key size is 0"),
        ] {
            let error = create(&spec, None).unwrap_err().to_string();
            assert!(error.contains("\"layout\"") && error.contains(property), "{error}");
        }
        assert!(!create(&sized(ARRAY, 8, 8, 1), None).unwrap_err().to_string().contains("loader"));
    }
}
