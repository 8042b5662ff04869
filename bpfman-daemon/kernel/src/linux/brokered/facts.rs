//! Facts about objects of brokered calls.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use bpfman_model::{IfIndex, ProgramId};
use bpfmand_calls::ObjectKind;

use crate::linux::attr::{BtfInfo, ById, Command, InfoByFd, LinkInfo, MapInfo, ProgInfo};
use crate::linux::{cgroup, interfaces, netns, perf, sys};

/// Facts about a program that a decision needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramBrief {
    /// Kernel's number of the type.
    pub program_type: u32,
    pub id: u32,
    pub name: String,
    /// Number of instructions that the verifier processed.
    pub verified_instructions: u32,
}

/// An object with its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelObject {
    pub kind: ObjectKind,
    pub id: u32,
}

/// Returns the kind of a descriptor's object and its id; `None` if it is something else.
#[must_use]
pub fn object_id(descriptor: &OwnedFd) -> Option<KernelObject> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).ok()?;
    let kind = match link.to_str()? {
        "anon_inode:bpf-prog" => ObjectKind::Program,
        "anon_inode:bpf-map" => ObjectKind::Map,
        "anon_inode:btf" => ObjectKind::Btf,
        "anon_inode:bpf_link" | "anon_inode:bpf-link" => ObjectKind::Link,
        _ => return None,
    };
    id_of(kind, descriptor).map(|id| KernelObject { kind, id })
}

/// Returns the id of a descriptor's object, which must be of this kind.
#[must_use]
pub fn id_of(kind: ObjectKind, descriptor: &OwnedFd) -> Option<u32> {
    let id = match kind {
        ObjectKind::Program => info::<ProgInfo>(descriptor).ok()?.id,
        ObjectKind::Map => info::<MapInfo>(descriptor).ok()?.id,
        ObjectKind::Btf => info::<BtfInfo>(descriptor).ok()?.id,
        ObjectKind::Link => info::<LinkInfo>(descriptor).ok()?.id,
    };
    Some(id)
}

/// Returns the facts about a program that a decision needs.
pub fn program_brief(program: &OwnedFd) -> io::Result<ProgramBrief> {
    let info: ProgInfo = info(program)?;
    let name = crate::linux::facts::text(&info.name);
    let (program_type, verified_instructions) = (info.prog_type, info.verified_insns);
    Ok(ProgramBrief { program_type, id: info.id, name, verified_instructions })
}

/// Returns the kernel memory of a map, in bytes; `None` if it is gone.
#[must_use]
pub fn map_memory(id: u32) -> Option<u64> {
    let map = open_object(ObjectKind::Map, id, 0).ok()?;
    crate::linux::facts::map(&map).ok().map(|facts| facts.bytes_memlock)
}

/// Returns the number of CPUs that per-CPU maps have values for.
#[must_use]
pub fn possible_cpus() -> u64 {
    static COUNT: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *COUNT.get_or_init(|| aya::util::nr_cpus().map_or(1, |count| count as u64))
}

/// Returns the kernel's number of the type of a program.
#[must_use]
pub fn program_type_of(id: u32) -> Option<u32> {
    let program = open_object(ObjectKind::Program, id, 0).ok()?;
    program_brief(&program).ok().map(|brief| brief.program_type)
}

fn info<A: crate::linux::attr::Attr + Default>(descriptor: impl AsFd) -> io::Result<A> {
    let mut found = A::default();
    let mut request = InfoByFd {
        bpf_fd: descriptor.as_fd().as_raw_fd(),
        info_len: size_of::<A>() as u32,
        info: (&raw mut found) as u64,
    };
    sys::bpf(Command::ObjGetInfoByFd, &mut request).map(|_| found)
}

const fn commands(kind: ObjectKind) -> (Command, Command) {
    match kind {
        ObjectKind::Program => (Command::ProgGetNextId, Command::ProgGetFdById),
        ObjectKind::Map => (Command::MapGetNextId, Command::MapGetFdById),
        ObjectKind::Btf => (Command::BtfGetNextId, Command::BtfGetFdById),
        ObjectKind::Link => (Command::LinkGetNextId, Command::LinkGetFdById),
    }
}

/// Returns the lowest id above `after` among the kernel's objects of the kind.
pub fn next_id(kind: ObjectKind, after: u32) -> io::Result<u32> {
    let mut request = ById { id: after, ..ById::default() };
    sys::bpf(commands(kind).0, &mut request).map(|_| request.next_id)
}

pub fn open_object(kind: ObjectKind, id: u32, flags: u32) -> io::Result<OwnedFd> {
    sys::bpf_fd(commands(kind).1, &mut ById { id, open_flags: flags, ..ById::default() })
}

/// Returns the name of an interface of a network namespace.
#[must_use]
pub fn interface_name(namespace: &OwnedFd, index: IfIndex) -> Option<String> {
    netns::enter_held(namespace, || Ok(interfaces::name_of(index))).ok().flatten()
}

/// Returns the ids of programs that are attached to a cgroup or a network namespace itself.
pub fn programs_of(target: &OwnedFd, attach_type: u32) -> io::Result<Vec<u32>> {
    let (programs, _) = cgroup::listed(target, attach_type)?;
    Ok(programs.into_iter().map(|ProgramId(id)| id).collect())
}

/// Returns whether BTF is that of the kernel or of a module, which every user can read in `/sys/kernel/btf`.
#[must_use]
pub fn btf_is_of_kernel(btf: &OwnedFd) -> bool {
    info::<BtfInfo>(btf).is_ok_and(|info| info.kernel_btf != 0)
}

/// Names of tracepoints by number, cached. After a module is unloaded, another event may get its number.
static KNOWN: Mutex<BTreeMap<u64, String>> = Mutex::new(BTreeMap::new());

/// Returns the category and name (`sched/sched_switch`) of a tracepoint by its number in perf events.
#[must_use]
pub fn tracepoint_name(number: u64) -> Option<String> {
    let events = perf::mounted_events()?;
    let number_of = |event: &Path| std::fs::read_to_string(event.join("id")).ok()?.trim().parse().ok();
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(name) = known.get(&number)
        && number_of(&events.join(name)) == Some(number)
    {
        return Some(name.clone());
    }
    let folders = |folder: &Path| std::fs::read_dir(folder).ok().into_iter().flatten().flatten();
    known.clear();
    for category in folders(&events) {
        for event in folders(&category.path()) {
            let name = || Some(format!("{}/{}", category.file_name().to_str()?, event.file_name().to_str()?));
            known.extend(number_of(&event.path()).zip(name()));
        }
    }
    known.get(&number).cloned()
}
