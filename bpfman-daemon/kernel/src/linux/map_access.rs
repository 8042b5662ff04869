//! Access to map entries. The kernel reads and writes as many bytes as the map defines: the map sizes every buffer.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use bpfman_model::MapFacts;

use super::attr::{self, Command};
use super::{cpus, facts, sys};
use crate::map_access::{Family, describe, wrong};
use crate::{EntryRule, KernelError, MapEntry};

pub struct DataMap<'a> {
    pub fd: &'a OwnedFd,
    pub facts: MapFacts,
    pub family: Family,
    /// Bytes of a value in system calls: for per-CPU maps, of all CPUs together.
    pub value_bytes: usize,
}

impl<'a> DataMap<'a> {
    pub fn open(action: &'static str, fd: &'a OwnedFd) -> Result<Self, KernelError> {
        Self::open_as(action, fd, Family::of)
    }

    pub fn open_walk(action: &'static str, fd: &'a OwnedFd) -> Result<Self, KernelError> {
        Self::open_as(action, fd, Family::of_walk)
    }

    pub fn open_entry(action: &'static str, fd: &'a OwnedFd) -> Result<Self, KernelError> {
        Self::open_as(action, fd, Family::of_entry)
    }

    fn open_as(
        action: &'static str,
        fd: &'a OwnedFd,
        family: fn(&'static str, &MapFacts) -> Result<Family, KernelError>,
    ) -> Result<Self, KernelError> {
        let facts = facts::map(fd).map_err(|source| KernelError::call(action, "what is no map", source))?;
        let family = family(action, &facts)?;
        let value_bytes = if family.per_cpu {
            padded(&facts)
                * possible_cpus().map_err(|source| KernelError::call(action, describe(&facts), source))?
        } else {
            facts.value_size as usize
        };
        Ok(Self { fd, facts, family, value_bytes })
    }

    pub fn fail(&self, action: &'static str) -> impl Fn(io::Error) -> KernelError {
        let subject = format!("map {}", describe(&self.facts));
        move |source| KernelError::call(action, subject.clone(), source)
    }

    fn check_key(&self, action: &'static str, key: &[u8]) -> Result<(), KernelError> {
        if key.len() == self.facts.key_size as usize {
            return Ok(());
        }
        Err(wrong(
            action,
            &self.facts,
            format!("its keys have {} bytes, not {}", self.facts.key_size, key.len()),
        ))
    }

    fn element(&self, key: &[u8], value: u64) -> attr::MapElement {
        attr::MapElement {
            map_fd: self.fd.as_raw_fd(),
            // The kernel requires a null pointer for keys without bytes.
            key: if key.is_empty() { 0 } else { key.as_ptr() as u64 },
            value,
            ..Default::default()
        }
    }

    pub fn lookup(&self, key: &[u8]) -> io::Result<Vec<u8>> {
        let mut value = vec![0; self.value_bytes];
        sys::bpf(Command::MapLookupElem, &mut self.element(key, value.as_mut_ptr() as u64))?;
        Ok(value)
    }

    pub fn next_key(&self, key: Option<&[u8]>) -> io::Result<Option<Vec<u8>>> {
        let mut next = vec![0; self.facts.key_size as usize];
        let mut request = self.element(key.unwrap_or(&[]), next.as_mut_ptr() as u64);
        match sys::bpf(Command::MapGetNextKey, &mut request) {
            Ok(_) => Ok(Some(next)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KernelError> {
        const ACTION: &str = "read an entry of";
        self.check_key(ACTION, key)?;
        match self.lookup(key) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(self.fail(ACTION)(error)),
        }
    }

    pub fn write(&self, entry: &MapEntry) -> Result<(), KernelError> {
        self.set(entry, EntryRule::Any).map(drop)
    }

    pub fn set(&self, entry: &MapEntry, rule: EntryRule) -> Result<bool, KernelError> {
        const ACTION: &str = "write to";
        self.check_key(ACTION, &entry.key)?;
        if entry.value.len() != self.value_bytes {
            let reason = format!("its values have {} bytes, not {}", self.value_bytes, entry.value.len());
            return Err(wrong(ACTION, &self.facts, reason));
        }
        // BPF_ANY, BPF_NOEXIST, BPF_EXIST
        let (flags, forbidden) = match rule {
            EntryRule::Any => (0, None),
            EntryRule::Create => (1, Some(libc::EEXIST)),
            EntryRule::Existing => (2, Some(libc::ENOENT)),
        };
        let mut request = self.element(&entry.key, entry.value.as_ptr() as u64);
        request.flags = flags;
        match sys::bpf(Command::MapUpdateElem, &mut request) {
            Ok(_) => Ok(true),
            Err(error) if forbidden.is_some() && error.raw_os_error() == forbidden => Ok(false),
            Err(error) => Err(self.fail(ACTION)(error)),
        }
    }

    pub fn remove(&self, key: &[u8]) -> Result<bool, KernelError> {
        const ACTION: &str = "remove an entry of";
        self.check_key(ACTION, key)?;
        if self.family.array {
            return Err(wrong(ACTION, &self.facts, "the entries of an array are always there".to_owned()));
        }
        match sys::bpf(Command::MapDeleteElem, &mut self.element(key, 0)) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(self.fail(ACTION)(error)),
        }
    }
}

pub fn padded(facts: &MapFacts) -> usize {
    (facts.value_size as usize).next_multiple_of(8)
}

pub fn read_per_cpu(fd: &OwnedFd, key: u32) -> Result<Vec<Vec<u8>>, KernelError> {
    let map = per_cpu("read", fd)?;
    let value = map.lookup(&key.to_ne_bytes()).map_err(map.fail("read an entry of"))?;
    let size = map.facts.value_size as usize;
    Ok(value.chunks_exact(padded(&map.facts)).map(|value| value[..size].to_vec()).collect())
}

pub fn write_per_cpu(fd: &OwnedFd, key: u32, value: &[u8]) -> Result<(), KernelError> {
    const ACTION: &str = "write to";
    let map = per_cpu(ACTION, fd)?;
    if value.len() != map.facts.value_size as usize {
        let reason = format!("its values have {} bytes, not {}", map.facts.value_size, value.len());
        return Err(wrong(ACTION, &map.facts, reason));
    }
    let mut padded_value = value.to_vec();
    padded_value.resize(padded(&map.facts), 0);
    let value = padded_value.repeat(map.value_bytes / padded_value.len().max(1));
    map.write(&MapEntry { key: key.to_ne_bytes().to_vec(), value })
}

fn per_cpu<'a>(action: &'static str, fd: &'a OwnedFd) -> Result<DataMap<'a>, KernelError> {
    let map = DataMap::open(action, fd)?;
    map.family.check_numbered_per_cpu(action, &map.facts)?;
    Ok(map)
}

/// Counts the CPUs in the kernel's list (`num_possible_cpus()`): gaps in CPU numbers have no value.
fn possible_cpus() -> io::Result<usize> {
    Ok(cpus::listed("possible")?.len())
}
