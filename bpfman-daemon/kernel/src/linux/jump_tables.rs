//! Jump tables: a map of type `insn_array` each (Linux 6.19).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use bpfman_model::{Insn, JumpTable, map_type, op};

use super::attr::{self, Command};
use super::load::kernel_name;
use super::{features, sys};
use crate::KernelError;

/// `struct bpf_insn_array_value`; the kernel fills in the targets in its own code.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Entry {
    given: u32,
    verified: u32,
    compiled: u32,
    padding: u32,
}

/// Creates a map per table, and sets it in the instructions that load it. A map serves one loaded program only.
pub fn bind(tables: &[JumpTable], insns: &mut [Insn]) -> Result<Vec<OwnedFd>, KernelError> {
    let mut maps = Vec::with_capacity(tables.len());
    for table in tables {
        let map = create(table)?;
        for load in &table.loads {
            if let Some(insn) = insns.get_mut(*load) {
                *insn = Insn::new(insn.code, insn.dst(), op::PSEUDO_MAP_VALUE, 0, map.as_raw_fd());
            }
        }
        maps.push(map);
    }
    Ok(maps)
}

fn create(table: &JumpTable) -> Result<OwnedFd, KernelError> {
    let mut request = attr::MapCreate {
        map_type: map_type::INSN_ARRAY,
        key_size: size_of::<u32>() as u32,
        value_size: size_of::<Entry>() as u32,
        max_entries: table.entries.len() as u32,
        map_name: kernel_name("jump_table"),
        ..Default::default()
    };
    let map =
        sys::bpf_fd(Command::MapCreate, &mut request).map_err(|source| match source.raw_os_error() {
            Some(libc::EINVAL) => KernelError::Unsupported {
                feature: "jump tables",
                release: features::release(),
                needs: "clang 23 makes them of a dense switch with -mcpu=v4, and Linux 6.19 or later has them; build the \
                        object with -fno-jump-tables or -mcpu=v3",
            },
            _ => fail(source),
        })?;
    for (index, entry) in (0_u32..).zip(&table.entries) {
        let value = Entry { given: *entry, ..Entry::default() };
        let mut request = attr::MapElement {
            map_fd: map.as_raw_fd(),
            key: (&raw const index) as u64,
            value: (&raw const value) as u64,
            ..Default::default()
        };
        sys::bpf(Command::MapUpdateElem, &mut request).map_err(fail)?;
    }
    // The verifier requires frozen tables.
    sys::bpf(Command::MapFreeze, &mut attr::Fd { fd: map.as_raw_fd() }).map_err(fail)?;
    Ok(map)
}

fn fail(source: io::Error) -> KernelError {
    KernelError::call("make", "a jump table", source)
}
