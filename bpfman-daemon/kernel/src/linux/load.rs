//! Creating maps and loading programs.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use bpfmand_core::map_type::{
    ARENA, ARRAY, BLOOM_FILTER, PERF_EVENT_ARRAY, QUEUE, RINGBUF, STACK, USER_RINGBUF,
};
use bpfmand_core::{FuncInfo, Insn, LineInfo, MapId, MapRole, MapSpec, op};

use super::attr::{self, Command};
use super::{extension, facts, features, netns, sys, types};
use crate::{KernelError, Loaded, LogRequest, ProgramLoad};

const FLAG_SLEEPABLE: u32 = 1 << 4;
const FLAG_XDP_HAS_FRAGS: u32 = 1 << 5;
const FLAG_XDP_DEVICE_BOUND: u32 = 1 << 6;
/// `BPF_LOG_LEVEL1` and `BPF_LOG_STATS`.
const LOG_VERIFIER: u32 = 1;
const LOG_STATISTICS: u32 = 4;
/// Room for the statistics alone: a few lines, and one number a function.
const STATISTICS: usize = 8 << 10;
/// Logs grow from here until they fit.
const LOG_START: usize = 64 << 10;
/// What Linux takes at most.
const LOG_END: usize = (u32::MAX >> 8) as usize;

/// Creates a map and gives it its first contents.
pub fn map(spec: &MapSpec, btf: Option<&OwnedFd>) -> Result<OwnedFd, KernelError> {
    let fail = |action, source| KernelError::call(action, format!("map \"{}\"", spec.name), source);
    let inner = spec.inner.as_deref().map(|inner| map(inner, None)).transpose()?;
    let mut request = attr::MapCreate {
        map_type: spec.map_type,
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: max_entries(spec).map_err(|source| fail("size", source))?,
        map_flags: spec.flags,
        inner_map_fd: inner.as_ref().map_or(0, AsRawFd::as_raw_fd),
        map_name: kernel_name(&spec.name),
        map_extra: spec.map_extra,
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
        // Not every kind of map takes types, and which do depends on the kernel: types are a comfort, not a need.
        (request.btf_fd, request.btf_key_type_id, request.btf_value_type_id) = (0, 0, 0);
        created = sys::bpf_fd(Command::MapCreate, &mut request);
    }
    let fd = created.map_err(|source| match unsized_property(&request) {
        Some(property) if source.raw_os_error() == Some(libc::EINVAL) => {
            KernelError::UnsizedMap { map: spec.name.clone(), property, source }
        }
        _ => fail("create", source),
    })?;
    if !spec.initial.is_empty() && spec.role != MapRole::Bss {
        write_globals(&fd, spec).map_err(|source| fail("fill", source))?;
    }
    if spec.role == MapRole::Rodata {
        sys::bpf(Command::MapFreeze, &mut attr::Fd { fd: fd.as_raw_fd() })
            .map_err(|source| fail("freeze", source))?;
    }
    Ok(fd)
}

/// What of a map that the kernel refused has no size, though such a map needs one.
fn unsized_property(request: &attr::MapCreate) -> Option<&'static str> {
    match request {
        attr::MapCreate { max_entries: 0, .. } => Some("max_entries"),
        // Ring buffers and arenas have neither; queues, stacks and filters have no keys.
        attr::MapCreate { map_type: RINGBUF | USER_RINGBUF | ARENA, .. } => None,
        attr::MapCreate { value_size: 0, .. } => Some("value size"),
        attr::MapCreate { map_type: QUEUE | STACK | BLOOM_FILTER, .. } => None,
        attr::MapCreate { key_size: 0, .. } => Some("key size"),
        _ => None,
    }
}

/// Global variables are one entry of an array.
fn write_globals(fd: &OwnedFd, spec: &MapSpec) -> io::Result<()> {
    let contents = &spec.initial;
    let key = 0_u32;
    // The kernel reads as many bytes as the map says, whatever is behind the addresses.
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

/// Sizes that objects leave to the loader.
fn max_entries(spec: &MapSpec) -> io::Result<u32> {
    match spec.map_type {
        PERF_EVENT_ARRAY if spec.max_entries == 0 => aya::util::nr_cpus()
            .map(|cpus| cpus as u32)
            .map_err(|(what, error)| io::Error::new(error.kind(), format!("{what}: {error}"))),
        RINGBUF | USER_RINGBUF => {
            // The kernel wants a power of two that is a multiple of its page size.
            let page = rustix::param::page_size() as u32;
            Ok(spec.max_entries.max(page).checked_next_power_of_two().unwrap_or(1 << 31))
        }
        _ => Ok(spec.max_entries),
    }
}

/// Loads a program, in the namespace of its interface if it is for one.
pub fn program(load: &ProgramLoad<'_>) -> Result<Loaded<OwnedFd>, KernelError> {
    let Some(device) = load.device else { return program_here(load) };
    let result = netns::enter(device.netns, || program_here(load));
    match result {
        // Asked only now: the kernel says the same to other mistakes.
        Err(KernelError::Refused { source, .. })
            if source.raw_os_error() == Some(libc::EINVAL) && !features::has_device_bound() =>
        {
            Err(KernelError::Unsupported {
                feature: "XDP programs for one interface",
                release: features::release(),
                needs: "Linux 6.3 or later has them",
            })
        }
        result => result,
    }
}

fn program_here(load: &ProgramLoad<'_>) -> Result<Loaded<OwnedFd>, KernelError> {
    let text = &load.text.0;
    let modules = text.modules.iter().map(|name| types::of_module(name)).collect::<Result<Vec<_>, _>>()?;
    // The kernel's own place in it is never looked at.
    let descriptors: Vec<RawFd> = std::iter::once(0).chain(modules.iter().map(AsRawFd::as_raw_fd)).collect();
    let (insns, maps) = with_descriptors(load, &descriptors)?;
    let btf = text.btf.as_deref().map(|bytes| types::of_maps_or_new(bytes, &maps)).transpose()?;
    let license = CString::new(text.license.as_str()).unwrap_or_default();
    let mut request = attr::ProgLoad {
        prog_type: load.kind.kernel_type,
        expected_attach_type: load.kind.expected_attach_type,
        insn_cnt: insns.len() as u32,
        insns: insns.as_ptr() as u64,
        license: license.as_ptr() as u64,
        prog_name: kernel_name(load.name),
        attach_btf_id: load.attach_btf_id,
        ..Default::default()
    };
    if !modules.is_empty() {
        request.fd_array = descriptors.as_ptr() as u64;
    }
    let attached = load.attach_module.map(types::of_module).transpose()?;
    if let Some(module) = &attached {
        // `attach_btf_obj_fd` shares its place.
        request.attach_prog_fd = module.as_raw_fd();
    }
    let extended = load.extends.map(extension::target).transpose()?;
    if let (Some(target), Some(extends)) = (&extended, load.extends) {
        request.attach_prog_fd = target.as_raw_fd();
        request.attach_btf_id = extends.function;
    }
    if let Some(device) = load.device {
        request.prog_ifindex = device.ifindex.0;
        request.prog_flags |= FLAG_XDP_DEVICE_BOUND;
    }
    if text.frags {
        request.prog_flags |= FLAG_XDP_HAS_FRAGS;
    }
    if text.sleepable {
        request.prog_flags |= FLAG_SLEEPABLE;
    }
    if let Some(btf) = &btf
        && !text.func_info.is_empty()
    {
        request.prog_btf_fd = btf.as_raw_fd();
        request.func_info_rec_size = size_of::<FuncInfo>() as u32;
        request.func_info = text.func_info.as_ptr() as u64;
        request.func_info_cnt = text.func_info.len() as u32;
        if !text.line_info.is_empty() {
            request.line_info_rec_size = size_of::<LineInfo>() as u32;
            request.line_info = text.line_info.as_ptr() as u64;
            request.line_info_cnt = text.line_info.len() as u32;
        }
    }
    match load.log {
        LogRequest::OnFailure => {
            if let Ok(program) = sys::bpf_fd(Command::ProgLoad, &mut request) {
                return Ok(Loaded { program, log: String::new(), stack_depths: None });
            }
        }
        LogRequest::StackDepths => {
            let mut statistics = vec![0_u8; STATISTICS];
            request.log_level = LOG_STATISTICS;
            request.log_size = STATISTICS as u32;
            request.log_buf = statistics.as_mut_ptr() as u64;
            if let Ok(program) = sys::bpf_fd(Command::ProgLoad, &mut request) {
                let stack_depths = stack_depths(&facts::text(&statistics));
                return Ok(Loaded { program, log: String::new(), stack_depths });
            }
        }
        LogRequest::Always => {}
    }
    with_log(load, &mut request)
}

/// Reads "stack depth 24+0+16", which Linux 7.2 ends with " max 48". The last such line is the whole program's.
fn stack_depths(log: &str) -> Option<Vec<u32>> {
    let line = log.lines().rev().find_map(|line| line.trim().strip_prefix("stack depth "))?;
    line.split_whitespace().next()?.split('+').map(|depth| depth.parse().ok()).collect()
}

/// Loads with the verifier's log.
fn with_log(load: &ProgramLoad<'_>, request: &mut attr::ProgLoad) -> Result<Loaded<OwnedFd>, KernelError> {
    let (result, log) = growing(LOG_START, LOG_END, |log| {
        request.log_level = if log.is_empty() { 0 } else { LOG_VERIFIER | LOG_STATISTICS };
        request.log_size = log.len() as u32;
        request.log_buf = if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 };
        sys::bpf_fd(Command::ProgLoad, request)
    });
    let log = facts::text(&log);
    match result {
        Ok(program) => {
            let stack_depths = stack_depths(&log);
            Ok(Loaded { program, log, stack_depths })
        }
        Err(source) => Err(KernelError::Refused {
            program: load.text.0.name.clone(),
            summary: summarise(&log),
            log,
            source,
        }),
    }
}

/// Tries with a buffer that grows until the log fits. The kernel fails a load whose log does not fit, however sound the
/// program: where the largest buffer is too small, what counts is the answer to a last try without a log.
fn growing<T>(
    start: usize,
    end: usize,
    mut attempt: impl FnMut(&mut [u8]) -> io::Result<T>,
) -> (io::Result<T>, Vec<u8>) {
    let mut size = start;
    loop {
        let mut log = vec![0_u8; size];
        match attempt(&mut log) {
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                if size >= end {
                    return (attempt(&mut []), log);
                }
                size = (size * 4).min(end);
            }
            result => return (result, log),
        }
    }
}

/// The lines of a verifier log that say why: the last ones before its statistics.
fn summarise(log: &str) -> String {
    const LINES: usize = 3;
    let telling: Vec<&str> = log
        .lines()
        .map(str::trim)
        .filter(|line| {
            !line.is_empty()
                && !line.starts_with("processed ")
                && !line.starts_with("verification time")
                && !line.starts_with("stack depth")
                && !line.starts_with("insns processed")
        })
        .collect();
    telling[telling.len().saturating_sub(LINES)..].join(" | ")
}

/// The instructions with map ids and places of modules' variables replaced by descriptors, and the descriptors, to be kept until the load is done.
fn with_descriptors(
    load: &ProgramLoad<'_>,
    modules: &[RawFd],
) -> Result<(Vec<Insn>, Vec<OwnedFd>), KernelError> {
    let mut open: HashMap<u32, RawFd> = HashMap::new();
    let mut held = Vec::new();
    for MapId(id) in load.text.map_ids() {
        let fd = facts::open(Command::MapGetFdById, id)
            .and_then(|fd| fd.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT)))
            .map_err(|source| {
                KernelError::call("open", format!("map {id} of program \"{}\"", load.text.0.name), source)
            })?;
        open.insert(id, fd.as_raw_fd());
        held.push(fd);
    }
    let mut insns = load.text.0.insns.clone();
    for at in load.text.map_references() {
        if let Some(fd) = open.get(&insns[at].imm.cast_unsigned()) {
            insns[at].imm = *fd;
        }
    }
    // The address of a module's variable: the module stands in the second half.
    for at in 1..insns.len() {
        let before = insns[at - 1];
        if before.is_ld_imm64()
            && before.src() == op::PSEUDO_BTF_ID
            && let Some(module) = modules.get(insns[at].imm as usize).filter(|fd| **fd != 0)
        {
            insns[at].imm = *module;
        }
    }
    Ok((insns, held))
}

/// A name as the kernel takes it: 15 bytes of letters, digits, `_` and `.`, and a zero.
pub fn kernel_name(name: &str) -> [u8; 16] {
    let mut bytes = [0_u8; 16];
    for (slot, byte) in bytes.iter_mut().zip(name.bytes()).take(15) {
        *slot = if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.' { byte } else { b'_' };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::slots::fill as slot;
    use bpfmand_core::map_type::{ARRAY_OF_MAPS, HASH, PROG_ARRAY};

    use super::*;

    #[test]
    fn a_name_is_cut_and_cleaned_as_the_kernel_wants_it() {
        assert_eq!(&kernel_name("a-name that is long"), b"a_name_that_is_\0");
        assert_eq!(&kernel_name("x")[..2], b"x\0");
    }

    #[test]
    fn stack_depths_of_all_kernels_are_read() {
        let old = "processed 9 insns\nverification time 12 usec\nstack depth 24+0+16\n";
        assert_eq!(stack_depths(old), Some(vec![24, 0, 16]));
        assert_eq!(stack_depths("stack depth 8 max 8\ninsns processed 3\n"), Some(vec![8]));
        assert_eq!(stack_depths("processed 9 insns\n"), None);
    }

    #[test]
    fn a_log_that_never_fits_hides_no_answer() {
        let no_space = || io::Error::from_raw_os_error(libc::ENOSPC);
        let mut sizes = Vec::new();
        let (result, log) = growing(2, 20, |log| {
            sizes.push(log.len());
            log.fill(b'x');
            if log.is_empty() { Ok(7) } else { Err(no_space()) }
        });
        assert_eq!((result.unwrap(), log, sizes), (7, vec![b'x'; 20], vec![2, 8, 20, 0]));
        let (result, _log) = growing(2, 20, |log| -> io::Result<()> {
            Err(if log.is_empty() { io::Error::from_raw_os_error(libc::EACCES) } else { no_space() })
        });
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EACCES));
        let (result, log) = growing(2, 20, |log| if log.len() < 8 { Err(no_space()) } else { Ok(()) });
        assert_eq!((result.unwrap(), log.len()), ((), 8));
    }

    fn spec(map_type: u32, key_size: u32, value_size: u32, initial: &[u8]) -> MapSpec {
        MapSpec {
            role: MapRole::Data,
            initial: initial.to_owned(),
            ..MapSpec::sized("layout", map_type, key_size, value_size, 1)
        }
    }

    #[test]
    fn the_kernel_is_never_let_to_read_beyond_a_value() {
        const ARRAY_OF_EACH_CPU: u32 = 6;
        if !rustix::process::geteuid().is_root() {
            return;
        }
        map(&spec(ARRAY, 4, 8, &[1; 8]), None).unwrap();
        for wrong in
            [spec(ARRAY, 4, 64, &[1; 8]), spec(HASH, 64, 8, &[1; 8]), spec(ARRAY_OF_EACH_CPU, 4, 8, &[1; 8])]
        {
            let error = map(&wrong, None).unwrap_err().to_string();
            assert!(error.contains("8 bytes of variables"), "{error}");
        }
        let value = map(&spec(ARRAY, 4, 8, &[]), None).unwrap();
        for (map_type, key_size, value_size) in [(HASH, 64, 4), (HASH, 4, 64), (ARRAY_OF_EACH_CPU, 4, 4)] {
            let map = map(&spec(map_type, key_size, value_size, &[]), None).unwrap();
            let error = slot(&map, 0, &value).unwrap_err().to_string();
            assert!(error.contains(&format!("keys of {key_size} and values of {value_size}")), "{error}");
        }
        // Here the layout is right, and the refusal the kernel's.
        let programs = map(&spec(PROG_ARRAY, 4, 4, &[]), None).unwrap();
        assert!(!slot(&programs, 0, &value).unwrap_err().to_string().contains("keys of"));
        let mut maps = spec(ARRAY_OF_MAPS, 4, 4, &[]);
        maps.inner = Some(Box::new(spec(ARRAY, 4, 8, &[])));
        slot(&map(&maps, None).unwrap(), 0, &value).unwrap();
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
            let error = map(&spec, None).unwrap_err().to_string();
            assert!(error.contains("\"layout\"") && error.contains(property), "{error}");
        }
        // What is wrong otherwise is the kernel's to say.
        assert!(!map(&sized(ARRAY, 8, 8, 1), None).unwrap_err().to_string().contains("loader"));
    }

    #[test]
    fn a_summary_keeps_the_lines_that_say_why() {
        let log =
            "0: (b7) r0 = 0\n1: (79) r1 = *(u64 *)(r2 +0)\nR2 !read_ok\nprocessed 2 insns (limit 1000000)\n";
        assert_eq!(summarise(log), "0: (b7) r0 = 0 | 1: (79) r1 = *(u64 *)(r2 +0) | R2 !read_ok");
    }
}
