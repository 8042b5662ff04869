//! USDT probes: one link for all places of a probe (Linux 6.6); its cookies lead the program to each place's arguments.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bpfman_model::uapi::attach_type;
use bpfman_model::{FileIdentity, FileReader, MapId, ProcessScope, map_type};

use super::attr::{self, Command};
use super::elf_notes::{self, UsdtSite};
use super::map_access::DataMap;
use super::symbols::{self, TargetFile};
use super::{copy_map, facts, perf, sys};
use crate::usdt_spec::{SpecLayout, spec};
use crate::{KernelError, MapEntry, ProbeTargetError};

const MAX_ENTRIES: usize = 1 << 16;

pub struct UsdtPlace<'a> {
    pub target: &'a str,
    pub provider: &'a str,
    pub name: &'a str,
    pub scope: &'a ProcessScope,
    /// Caller with whose rights the file is opened; `None` for root.
    pub reader: Option<&'a FileReader>,
}

impl UsdtPlace<'_> {
    fn fail(&self, reason: ProbeTargetError) -> KernelError {
        let UsdtPlace { target, provider, name, .. } = self;
        KernelError::CannotProbe { target: format!("\"{target}\", probe {provider}:{name}"), reason }
    }

    /// Finds the sites of the probe. The identity was read before the file.
    fn find(&self) -> Result<(TargetFile, FileIdentity, Vec<UsdtSite>), KernelError> {
        let file =
            symbols::find_file(self.target, self.scope, self.reader).map_err(|reason| self.fail(reason))?;
        let identity = file.identity().map_err(|reason| self.fail(reason))?;
        let path = file.path().to_owned();
        let sites = elf_notes::sites(&file, self.provider, self.name)
            .map_err(|source| self.fail(ProbeTargetError::NotBinary { path: path.clone(), source }))?;
        if sites.is_empty() {
            let (provider, name) = (self.provider.to_owned(), self.name.to_owned());
            return Err(self.fail(ProbeTargetError::NoUsdt { path, provider, name }));
        }
        // Notes may name any place in the file. A place in unknown code is at least a nop, as `sites` checked.
        let offsets: Vec<u64> = sites.iter().map(|site| site.offset).collect();
        perf::check_places(&file, &offsets, false, false).map_err(|reason| self.fail(reason))?;
        Ok((file, identity, sites))
    }
}

pub fn find(place: &UsdtPlace<'_>) -> Result<(), KernelError> {
    place.find().map(drop)
}

/// `specs`: the program's map of arguments; `None` if it reads none.
pub fn attach(
    program: &OwnedFd,
    place: &UsdtPlace<'_>,
    specs: Option<MapId>,
) -> Result<(OwnedFd, FileIdentity), KernelError> {
    let (file, identity, sites) = place.find()?;
    let path = CString::new(file.reopen_path()).map_err(|error| place.fail(error.into()))?;
    let offsets: Vec<u64> = sites.iter().map(|site| site.offset).collect();
    let semaphores: Vec<u64> = sites.iter().map(|site| site.semaphore.unwrap_or(0)).collect();
    let told = specs.map(|specs| put_specs(place, &sites, specs)).transpose()?;
    let mut request = attr::LinkCreateUprobes {
        prog_fd: program.as_raw_fd(),
        attach_type: attach_type::TRACE_UPROBE_MULTI,
        path: path.as_ptr() as u64,
        offsets: offsets.as_ptr() as u64,
        ref_ctr_offsets: semaphores.as_ptr() as u64,
        cookies: told.as_ref().map_or(0, |told| told.cookies.as_ptr() as u64),
        count: offsets.len() as u32,
        pid: place.scope.pid.unwrap_or(0),
        ..Default::default()
    };
    let link = sys::bpf_fd(Command::LinkCreate, &mut request).map_err(|source| {
        if let Some(told) = &told {
            told.take_back();
        }
        match (source.raw_os_error(), place.scope.pid) {
            (Some(libc::ESRCH), Some(pid)) => place.fail(ProbeTargetError::NoProcess(pid)),
            _ => {
                let UsdtPlace { target, provider, name, .. } = place;
                KernelError::call(
                    "attach",
                    format!("a program to probe {provider}:{name} of {target}"),
                    source,
                )
            }
        }
    })?;
    Ok((link, identity))
}

struct ArgumentEntries {
    map: OwnedFd,
    layout: SpecLayout,
    cookies: Vec<u64>,
    written: Vec<MapEntry>,
    /// Held while entries may be freed again, so that no other link shares them.
    _taking: Option<MutexGuard<'static, ()>>,
}

impl ArgumentEntries {
    fn write(&self) -> Result<(), KernelError> {
        let map = DataMap::open("write to", &self.map)?;
        self.written.iter().try_for_each(|entry| map.write(entry))
    }

    /// Frees the written entries. An entry that cannot be freed is used by the next probe site with equal arguments.
    fn take_back(&self) {
        let Ok(map) = DataMap::open("write to", &self.map) else { return };
        for entry in &self.written {
            let _unfreed =
                map.write(&MapEntry { key: entry.key.clone(), value: vec![0; self.layout.bytes()] });
        }
    }
}

/// Writes the arguments of all sites, or of none. Sites with equal arguments share an entry, also across links.
fn put_specs(place: &UsdtPlace<'_>, sites: &[UsdtSite], map: MapId) -> Result<ArgumentEntries, KernelError> {
    /// Held for the search and the use of free entries.
    static TAKING: Mutex<()> = Mutex::new(());
    let fail = |source| KernelError::call("tell arguments by", format!("map {map}"), source);
    let invalid = |why: String| fail(io::Error::new(io::ErrorKind::InvalidInput, why));
    let held = facts::open(Command::MapGetFdById, map.0).map_err(fail)?;
    let held = held.ok_or_else(|| fail(io::Error::from_raw_os_error(libc::ENOENT)))?;
    let (kind, key_size, value_size) = facts::map_layout(&held).map_err(fail)?;
    let layout = SpecLayout::ALL.into_iter().find(|layout| layout.bytes() == value_size as usize);
    let Some(layout) = layout.filter(|_| (kind, key_size) == (map_type::ARRAY, 4)) else {
        let [narrow, wide] = SpecLayout::ALL.map(SpecLayout::bytes);
        return Err(invalid(format!(
            "it is of type {kind} with values of {value_size} bytes, and libbpf's are of type {} with {narrow} or {wide}",
            map_type::ARRAY
        )));
    };
    let wanted = |site: &UsdtSite| spec(layout, &site.arguments).map_err(|reason| place.fail(reason.into()));
    let wanted = sites.iter().map(wanted).collect::<Result<Vec<_>, _>>()?;
    let taking = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let entries = copy_map::entries(&held, MAX_ENTRIES, true)?;
    let count = entries.len();
    let (mut known, mut free) = (HashMap::new(), Vec::new());
    for (at, entry) in (0_u32..).zip(entries) {
        if entry.value.iter().all(|byte| *byte == 0) {
            free.push(at);
        } else {
            known.entry(entry.value).or_insert(at);
        }
    }
    let (mut free, mut cookies, mut written) =
        (free.into_iter(), Vec::with_capacity(sites.len()), Vec::new());
    for wanted in wanted {
        let at = match known.get(&wanted[..]) {
            Some(at) => *at,
            None => {
                let at = free.next().ok_or_else(|| {
                    invalid(format!(
                        "all its {count} entries are taken: load with a larger one (--map-size __bpf_usdt_specs=NUMBER)"
                    ))
                })?;
                known.insert(wanted.clone(), at);
                written.push(MapEntry { key: at.to_ne_bytes().to_vec(), value: wanted });
                at
            }
        };
        cookies.push(u64::from(at));
    }
    let taking = (!written.is_empty()).then_some(taking);
    let told = ArgumentEntries { map: held, layout, cookies, written, _taking: taking };
    told.write().inspect_err(|_| told.take_back())?;
    Ok(told)
}
