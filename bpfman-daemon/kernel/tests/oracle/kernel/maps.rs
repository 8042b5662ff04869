use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use bpfman_model::{MapRole, MapSpec};

use super::{Attr, Program};
use crate::together::sum_of_cpus;

/// Maximum number of entries that are read per map: all 65,536 ports of a table would take most of the time.
const MAX_ENTRIES: usize = 512;

const PER_CPU: [u32; 3] = [5, 6, 10];
const PROG_ARRAY: u32 = 3;
/// Map types that are not compared: members cannot change their entries, or reading removes them.
const UNREADABLE: [u32; 4] = [PROG_ARRAY, 22, 23, 27];

pub struct Map {
    pub fd: OwnedFd,
    pub name: String,
    pub read_only: Option<Vec<u8>>,
    /// BTF of the map's types. Programs that refer to these types need the same BTF.
    _btf: Option<Arc<OwnedFd>>,
    per_cpu: bool,
    kind: u32,
    value_size: usize,
    key_size: usize,
}

impl Map {
    pub fn create(kind: u32, key: u32, value: u32, entries: u32, flags: u32) -> io::Result<Self> {
        let mut attr = Attr::new().u32(0, kind).u32(4, key).u32(8, value).u32(12, entries).u32(16, flags);
        let per_cpu = PER_CPU.contains(&kind);
        let copies = if per_cpu { possible_cpus() } else { 1 };
        let value_size = if per_cpu { value.next_multiple_of(8) } else { value } as usize * copies;
        Ok(Self {
            fd: attr.open(0)?,
            name: String::new(),
            read_only: None,
            _btf: None,
            per_cpu,
            kind,
            value_size,
            key_size: key as usize,
        })
    }

    pub fn from_spec(spec: &MapSpec, btf: Option<&Arc<OwnedFd>>) -> io::Result<Self> {
        let entries = if spec.max_entries == 0 { 1 } else { spec.max_entries };
        let mut attr = Attr::new()
            .u32(0, spec.map_type)
            .u32(4, spec.key_size)
            .u32(8, spec.value_size)
            .u32(12, entries)
            .u32(16, spec.flags);
        if let Some(btf) = btf.filter(|_| spec.btf_value_type_id != 0) {
            attr = attr.fd(48, btf.as_raw_fd()).u32(52, spec.btf_key_type_id).u32(56, spec.btf_value_type_id);
        }
        let per_cpu = PER_CPU.contains(&spec.map_type);
        let value_size = spec.value_size as usize;
        let mut map = Self {
            fd: attr.open(0)?,
            name: spec.name.clone(),
            read_only: None,
            _btf: btf.cloned(),
            per_cpu,
            kind: spec.map_type,
            value_size: if per_cpu { value_size.next_multiple_of(8) * possible_cpus() } else { value_size },
            key_size: spec.key_size as usize,
        };
        if !spec.initial.is_empty() {
            map.update(&0u32.to_ne_bytes(), &spec.initial)?;
        }
        if spec.role == MapRole::Rodata {
            map.freeze()?;
        }
        Ok(map)
    }

    pub fn settings(value: &[u8]) -> io::Result<Self> {
        const RDONLY_PROG: u32 = 0x80;
        let mut map = Self::create(2, 4, value.len() as u32, 1, RDONLY_PROG)?;
        map.update(&0u32.to_ne_bytes(), value)?;
        map.freeze()?;
        Ok(map)
    }

    fn freeze(&mut self) -> io::Result<()> {
        Attr::new().fd(0, self.fd.as_raw_fd()).call(22)?;
        self.read_only = self.contents().pop().map(|(_, value)| value);
        Ok(())
    }

    /// Creates an array with one slot, which holds a program only while the array is open.
    pub fn empty_slot() -> io::Result<Self> {
        Self::create(PROG_ARRAY, 4, 4, 1, 0)
    }

    pub fn hold(&self, program: &Program) -> io::Result<()> {
        self.hold_at(0, program)
    }

    pub fn hold_at(&self, slot: u32, program: &Program) -> io::Result<()> {
        self.update(&slot.to_ne_bytes(), &program.as_raw_fd().to_ne_bytes())
    }

    pub fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.element(key).pointer(16, value.as_ptr()).call(2).map(drop)
    }

    fn element(&self, key: &[u8]) -> Attr {
        Attr::new().fd(0, self.fd.as_raw_fd()).pointer(8, key.as_ptr())
    }

    pub fn contents(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all = Vec::new();
        if UNREADABLE.contains(&self.kind) {
            return all;
        }
        let mut key: Option<Vec<u8>> = None;
        for _ in 0..MAX_ENTRIES {
            let mut next = vec![0; self.key_size];
            let from = key.as_ref().map_or(std::ptr::null(), Vec::as_ptr);
            let mut attr = Attr::new().fd(0, self.fd.as_raw_fd());
            attr = attr.pointer(8, from).pointer(16, next.as_mut_ptr());
            if attr.call(4).is_err() {
                break;
            }
            let mut value = vec![0; self.value_size];
            if self.element(&next).pointer(16, value.as_mut_ptr()).call(1).is_ok() {
                // A run's CPU is that of the thread: compare only the sum of all CPUs.
                all.push((next.clone(), if self.per_cpu { sum_of_cpus(&value) } else { value }));
            }
            key = Some(next);
        }
        all.sort();
        all
    }
}

pub fn possible_cpus() -> usize {
    let range = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap();
    range.trim().rsplit(['-', ',']).next().unwrap().parse::<usize>().unwrap() + 1
}
