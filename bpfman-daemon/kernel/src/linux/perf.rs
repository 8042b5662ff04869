use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bpfman_model::{FileIdentity, FileReader, ProcessScope};

use super::sys::{self, PerfEventAttr};
use super::{elf_symbols, features, kallsyms, mounts, probe_place, runtimes, symbols};
use crate::{KernelError, ProbeTargetError};

const TYPE_TRACEPOINT: u32 = 2;
pub(super) const ANY_PROCESS: i32 = -1;
pub(super) const ANY_CPU: i32 = -1;
/// A probe of every process is opened on one CPU, and fires on all.
const FIRST_CPU: i32 = 0;

pub fn tracepoint(category: &str, name: &str) -> Result<OwnedFd, KernelError> {
    let events = events_folder()?;
    let id = std::fs::read_to_string(events.join(category).join(name).join("id")).map_err(|_absent| {
        KernelError::NoTracepoint {
            category: category.to_owned(),
            name: name.to_owned(),
            similar: similar(&events, category, name),
        }
    })?;
    let config = id.trim().parse().map_err(|_| {
        KernelError::call(
            "read the id of trace point",
            format!("{category}/{name}"),
            io::ErrorKind::InvalidData,
        )
    })?;
    let event = PerfEventAttr { event_type: TYPE_TRACEPOINT, config, ..Default::default() };
    sys::perf_event_open(event, ANY_PROCESS, FIRST_CPU)
        .map_err(|source| KernelError::call("open trace point", format!("{category}/{name}"), source))
}

const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

pub fn traceable_functions() -> Result<String, KernelError> {
    let folder = events_folder()?.join("../available_filter_functions");
    std::fs::read_to_string(&folder).map_err(|source| {
        KernelError::call("read which functions can be traced from", folder.display().to_string(), source)
    })
}

fn events_folder() -> Result<PathBuf, KernelError> {
    mounted_events().ok_or_else(|| {
        let why = "no tracefs is mounted there: mount one (mount -t tracefs tracefs /sys/kernel/tracing), or restart the daemon, which does";
        KernelError::call("find trace points below", PLACES[0], io::Error::new(io::ErrorKind::NotFound, why))
    })
}

pub(super) fn mounted_events() -> Option<PathBuf> {
    PLACES.iter().map(|place| Path::new(place).join("events")).find(|events| events.is_dir())
}

/// Mounts a missing tracefs, which tracepoints need. Only at start: later the daemon mounts nothing.
pub fn mount_tracefs() {
    if mounted_events().is_some() {
        return;
    }
    if let Err(error) = rustix::mount::mount("tracefs", PLACES[0], "tracefs", mounts::flags(), None) {
        tracing::warn!(%error, "cannot mount a tracefs on {}: programs cannot be attached to trace points", PLACES[0]);
    }
}

fn similar(events: &Path, category: &str, name: &str) -> Vec<String> {
    let names = |folder: &Path| -> Vec<String> {
        std::fs::read_dir(folder)
            .map(|entries| {
                entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
            })
            .unwrap_or_default()
    };
    let stem = name.get(..name.len().min(8)).unwrap_or(name);
    let mut found: Vec<String> = names(events)
        .into_iter()
        .flat_map(|folder| names(&events.join(&folder)).into_iter().map(move |point| (folder.clone(), point)))
        .filter(|(folder, point)| point == name || (folder == category && point.contains(stem)))
        .map(|(folder, point)| format!("{folder}/{point}"))
        .collect();
    let asked = format!("{category}/{name}");
    let alike = |candidate: &str| asked.bytes().zip(candidate.bytes()).take_while(|(a, b)| a == b).count();
    found.sort_by_key(|candidate| {
        (!candidate.ends_with(&format!("/{name}")), std::cmp::Reverse(alike(candidate)), candidate.clone())
    });
    found.truncate(3);
    found
}

/// `inside_only` refuses offsets outside of the function: the kernel would probe whatever function is there.
pub fn kprobe(
    function: &str,
    offset: u64,
    inside_only: bool,
    on_return: bool,
) -> Result<OwnedFd, KernelError> {
    let fail = |reason: ProbeTargetError| KernelError::CannotProbe {
        target: format!("kernel function \"{function}\""),
        reason,
    };
    let source = EventSource::find("kprobe")?;
    // If several functions have the name, kernels before 6.7 probe an arbitrary one of them.
    let several = |error: &io::Error| error.raw_os_error() == Some(libc::EADDRNOTAVAIL);
    if features::version() < (6, 7)
        && let Some(count) = functions_of(function).filter(|count| *count > 1)
    {
        return Err(fail(ProbeTargetError::SeveralKernelFunctions(count)));
    }
    if inside_only && offset > 0 {
        match kallsyms::size_of(function).ok().flatten() {
            Some(size) if offset < size => {}
            size => return Err(fail(ProbeTargetError::OutsideFunction { offset, size })),
        }
    }
    let symbol = CString::new(function).map_err(|error| fail(error.into()))?;
    let event = PerfEventAttr {
        event_type: source.number,
        config: source.config(on_return),
        config1: symbol.as_ptr() as u64,
        config2: offset,
        ..Default::default()
    };
    sys::perf_event_open(event, ANY_PROCESS, FIRST_CPU).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT) => fail(no_kernel_function(function)),
        _ if several(&error) => {
            let count = functions_of(function).filter(|count| *count > 1);
            fail(ProbeTargetError::SeveralKernelFunctions(count.unwrap_or(2)))
        }
        // A function begins with an instruction: refusing offset 0 refuses the function.
        Some(libc::EINVAL) if offset == 0 => fail(ProbeTargetError::Forbidden { source: error }),
        Some(libc::EINVAL | libc::EILSEQ) => {
            fail(ProbeTargetError::NotAnInstruction { offset, source: error })
        }
        _ => KernelError::call("open a probe of", format!("kernel function \"{function}\""), error),
    })
}

pub fn no_kernel_function(name: &str) -> ProbeTargetError {
    ProbeTargetError::NoKernelFunction { hints: kallsyms::hints(name).unwrap_or_default() }
}

fn functions_of(name: &str) -> Option<usize> {
    kallsyms::functions(name).ok().filter(|count| *count > 0)
}

pub struct UserPlace<'a> {
    pub target: &'a str,
    pub function: Option<&'a str>,
    pub offset: u64,
    pub scope: &'a ProcessScope,
    pub reader: Option<&'a FileReader>,
}

pub struct UserPlaces<'a> {
    pub target: &'a str,
    pub functions: &'a [String],
    pub scope: &'a ProcessScope,
    pub reader: Option<&'a FileReader>,
}

/// Functions found in a binary. The identity was read before the lookup.
pub struct FoundPlaces {
    pub file: symbols::TargetFile,
    pub identity: FileIdentity,
    pub offsets: Vec<u64>,
}

/// Finds functions in a binary. For `known_only` see [`uprobe`].
pub fn user_places(
    places: &UserPlaces<'_>,
    on_return: bool,
    known_only: bool,
) -> Result<FoundPlaces, KernelError> {
    let fail = |reason: ProbeTargetError| KernelError::CannotProbe {
        target: format!("\"{}\"", places.target),
        reason,
    };
    let file = symbols::find_file(places.target, places.scope, places.reader).map_err(fail)?;
    // Read the identity first: a later write changes it, and the next check looks up the functions again.
    let identity = file.identity().map_err(fail)?;
    let offset = |function: &String| elf_symbols::file_offset(&file, function).map_err(fail);
    let offsets = places.functions.iter().map(offset).collect::<Result<Vec<_>, KernelError>>()?;
    check_places(&file, &offsets, on_return, known_only).map_err(fail)?;
    Ok(FoundPlaces { file, identity, offsets })
}

/// Refuses data, a place inside an instruction, and a return probe where stacks move; warns root if uncertain.
pub(super) fn check_places(
    file: &symbols::TargetFile,
    offsets: &[u64],
    on_return: bool,
    known_only: bool,
) -> Result<(), ProbeTargetError> {
    for checked in probe_place::check_all(file, offsets, on_return) {
        match checked {
            // Root may know better about unknown places.
            Err(ProbeTargetError::UnknownPlace { .. }) if !known_only => {}
            result => result?,
        }
    }
    let runtime = if on_return { runtimes::that_moves_stacks(file) } else { None };
    let Some(runtime) = runtime else { return Ok(()) };
    let found = ProbeTargetError::MovesStacks { path: file.path().to_owned(), runtime };
    if known_only {
        return Err(found);
    }
    tracing::warn!("a return probe may end processes: {found}");
    Ok(())
}

/// `known_only`: only at an instruction of a named function: a breakpoint inside an instruction crashes processes.
pub fn uprobe(
    place: &UserPlace<'_>,
    on_return: bool,
    known_only: bool,
) -> Result<(OwnedFd, FileIdentity), KernelError> {
    let UserPlace { target, function, offset, scope, reader } = *place;
    let fail =
        |reason: ProbeTargetError| KernelError::CannotProbe { target: format!("\"{target}\""), reason };
    let source = EventSource::find("uprobe")?;
    let file = symbols::find_file(target, scope, reader).map_err(fail)?;
    let identity = file.identity().map_err(fail)?;
    let start = match function {
        Some(function) => elf_symbols::file_offset(&file, function).map_err(fail)?,
        None => 0,
    };
    let offset =
        start.checked_add(offset).ok_or_else(|| fail(ProbeTargetError::BeyondFile { offset, start }))?;
    check_places(&file, &[offset], on_return, known_only).map_err(fail)?;
    let name = CString::new(file.reopen_path()).map_err(|error| fail(error.into()))?;
    let event = PerfEventAttr {
        event_type: source.number,
        config: source.config(on_return),
        config1: name.as_ptr() as u64,
        config2: offset,
        ..Default::default()
    };
    let (process, cpu) = match scope.pid {
        Some(pid) => (pid.cast_signed(), ANY_CPU),
        None => (ANY_PROCESS, FIRST_CPU),
    };
    let event = sys::perf_event_open(event, process, cpu);
    let event = event.map_err(|error| match (error.raw_os_error(), scope.pid) {
        (Some(libc::ESRCH), Some(pid)) => fail(ProbeTargetError::NoProcess(pid)),
        _ => KernelError::call("open a probe of", format!("{target} at offset {offset:#x}"), error),
    })?;
    Ok((event, identity))
}

pub fn has_source(name: &'static str) -> bool {
    EventSource::find(name).is_ok()
}

/// Perf event source, whose type number the kernel chooses at boot.
struct EventSource {
    number: u32,
    return_bit: u32,
}

impl EventSource {
    fn find(name: &'static str) -> Result<Self, KernelError> {
        let folder = Path::new("/sys/bus/event_source/devices").join(name);
        let read = |file: &str| std::fs::read_to_string(folder.join(file));
        let number = read("type").ok().and_then(|text| text.trim().parse().ok()).ok_or_else(|| {
            KernelError::Unsupported {
                feature: if name == "kprobe" { "kernel probes" } else { "user-space probes" },
                release: super::release(),
                needs: "it was built without them",
            }
        })?;
        // Contains for example "config:0": the bit of `config` that requests a return probe.
        let return_bit = read("format/retprobe")
            .ok()
            .and_then(|text| text.trim().strip_prefix("config:")?.parse().ok())
            .unwrap_or(0);
        Ok(Self { number, return_bit })
    }

    const fn config(&self, on_return: bool) -> u64 {
        if on_return { 1 << self.return_bit } else { 0 }
    }
}
