use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use bpfman_model::uapi::attach_type;
use bpfman_model::{BoundText, IfIndex, Insn, MapSpec, ProgramType, map_type, op};

use super::attr::{self, Command};
use super::{create_map, load, sys, tcx, test_run, types};
use crate::{Device, KernelError, ListAnchor, ProgramKind, ProgramLoad, TestContext, TestRun};

const MOVE: u8 = 0xb7;
const STORE: u8 = 0x7a;
const CALL: u8 = 0x85;
const JUMP_IF_EQUAL: u8 = 0x15;
const LONG_JUMP: u8 = 0x06;
const FRAME: u8 = 10;
const PASS: i32 = 2;
/// Exists in every network namespace.
const LOOPBACK: IfIndex = IfIndex(1);
const DEFRAGMENT: u32 = 1;
const IPV4: u32 = 2;

const fn exit() -> Insn {
    Insn::new(op::EXIT, 0, 0, 0, 0)
}

const fn answer(value: i32) -> Insn {
    Insn::new(MOVE, 0, 0, 0, value)
}

fn load(program_type: ProgramType, insns: Vec<Insn>) -> Result<OwnedFd, KernelError> {
    let text = BoundText::of_one_function("probe", "GPL", insns);
    load::program(&ProgramLoad::new("probe", &text, program_type.into())).map(|loaded| loaded.program)
}

fn link<A: attr::Attr>(
    program_type: ProgramType,
    request: impl FnOnce(&OwnedFd, u32) -> A,
) -> Option<io::Result<()>> {
    let program = load(program_type, vec![answer(0), exit()]).ok()?;
    let mut request = request(&program, ProgramKind::from(program_type).expected_attach_type);
    Some(sys::bpf_fd(Command::LinkCreate, &mut request).map(drop))
}

fn is(answer: Option<io::Result<()>>, expected: &[i32]) -> bool {
    let Some(Err(error)) = answer else { return matches!(answer, Some(Ok(()))) };
    error.raw_os_error().is_some_and(|errno| expected.contains(&errno))
}

pub fn netfilter() -> bool {
    load(ProgramType::Netfilter, vec![answer(1), exit()]).is_ok()
}

/// Probes for 32-bit jumps: stable kernels may have them earlier than upstream, for example Debian's 6.1.
pub fn long_jumps() -> bool {
    let unless_null = Insn::new(JUMP_IF_EQUAL, 1, 0, 1, 0);
    let over_one = Insn::new(LONG_JUMP, 0, 0, 0, 1);
    load(ProgramType::Xdp, vec![answer(PASS), unless_null, over_one, answer(1), exit()]).is_ok()
}

/// Probes the rounding of frames: these two fit into a stack of 512 bytes only if neither is rounded up to 32.
pub fn frames_by_16() -> bool {
    let store = |at| Insn::new(STORE, FRAME, 0, at, 0);
    let call = Insn::new(CALL, 0, 1, 0, 2);
    let insns = vec![store(-272), call, answer(PASS), exit(), store(-240), answer(0), exit()];
    load(ProgramType::Xdp, insns).is_ok()
}

/// Binds a program to `lo`, whose driver cannot run it: a kernel without the feature returns another error.
pub fn device_bound() -> bool {
    let text = BoundText::of_one_function("probe", "GPL", vec![answer(PASS), exit()]);
    let device = Some(Device { netns: None, ifindex: LOOPBACK });
    let wanted = ProgramLoad { device, ..ProgramLoad::new("probe", &text, ProgramType::Xdp.into()) };
    match load::program(&wanted) {
        Ok(_) => true,
        Err(KernelError::Refused { source, .. }) => source.raw_os_error() == Some(libc::EOPNOTSUPP),
        Err(_) => false,
    }
}

pub fn xdp_contexts() -> bool {
    let told = TestContext::Xdp { metadata: 0, ingress_ifindex: 0, rx_queue: 0 };
    let run = TestRun { context: told, ..TestRun::once(&[0; 64]) };
    load(ProgramType::Xdp, vec![answer(PASS), exit()])
        .is_ok_and(|program| test_run::run_here(&program, &run).is_ok())
}

/// Tries to link to an invalid event descriptor (EBADF). A kernel without the feature returns another error.
pub fn perf_links() -> bool {
    let on_nothing = |program: &OwnedFd, _| attr::LinkCreate {
        prog_fd: program.as_raw_fd(),
        target: u32::MAX,
        attach_type: attach_type::PERF_EVENT,
        ..Default::default()
    };
    is(link(ProgramType::Tracepoint, on_nothing), &[libc::EBADF])
}

pub fn cgroup_order() -> bool {
    let in_none = |program: &OwnedFd, attach_type| attr::LinkCreate {
        prog_fd: program.as_raw_fd(),
        target: u32::MAX,
        attach_type,
        flags: tcx::flags(ListAnchor::First).0,
        ..Default::default()
    };
    is(link(ProgramType::CgroupDevice, in_none), &[libc::EBADF])
}

pub fn sockmap_links() -> bool {
    let to_none = |program: &OwnedFd, attach_type| attr::LinkCreate {
        prog_fd: program.as_raw_fd(),
        target: u32::MAX,
        attach_type,
        ..Default::default()
    };
    is(link(ProgramType::SkMsg, to_none), &[libc::EBADF])
}

/// Tries to link to `lo`, which is no netkit device (ENXIO).
pub fn netkit() -> bool {
    let at_loopback = |program: &OwnedFd, _| attr::LinkCreate {
        prog_fd: program.as_raw_fd(),
        target: LOOPBACK.0,
        attach_type: attach_type::NETKIT_PRIMARY,
        ..Default::default()
    };
    is(link(ProgramType::Netkit, at_loopback), &[libc::ENXIO])
}

/// Passes an invalid address of names (EFAULT), which the kernel reads before it looks up functions.
pub fn kprobe_multi(program_type: ProgramType) -> bool {
    const NOWHERE: u64 = 8;
    let to_none = |program: &OwnedFd, attach_type| attr::LinkCreateKprobes {
        prog_fd: program.as_raw_fd(),
        attach_type,
        count: 1,
        names: NOWHERE,
        ..Default::default()
    };
    is(link(program_type, to_none), &[libc::EFAULT])
}

/// Tries to probe a folder, which the kernel refuses (EBADF).
pub fn uprobe_multi(program_type: ProgramType) -> bool {
    let offset = 0_u64;
    let of_folder = |program: &OwnedFd, attach_type| attr::LinkCreateUprobes {
        prog_fd: program.as_raw_fd(),
        attach_type,
        path: c"/".as_ptr() as u64,
        offsets: (&raw const offset) as u64,
        count: 1,
        ..Default::default()
    };
    is(link(program_type, of_folder), &[libc::EBADF])
}

pub fn raw_cookies() -> bool {
    let mut request = attr::RawTracepoint { prog_fd: -1, cookie: 1, ..Default::default() };
    is(Some(sys::bpf_fd(Command::RawTracepointOpen, &mut request).map(drop)), &[libc::EBADF])
}

/// Uses a forbidden priority, which the kernel checks last.
pub fn netfilter_defragment() -> bool {
    let whole = |program: &OwnedFd, attach_type| attr::LinkCreateNetfilter {
        prog_fd: program.as_raw_fd(),
        attach_type,
        family: IPV4,
        priority: i32::MIN,
        netfilter_flags: DEFRAGMENT,
        ..Default::default()
    };
    is(link(ProgramType::Netfilter, whole), &[libc::ERANGE])
}

#[derive(Clone, Copy)]
pub enum BtfKind {
    Float,
    DeclTag,
    TypeTag,
    Enum64,
}

pub fn map_batches() -> bool {
    let Ok(map) = create_map::create(&MapSpec::sized("batches", map_type::HASH, 4, 4, 1), None) else {
        return false;
    };
    let (mut next, mut key, mut value) = ([0_u8; 8], [0_u8; 4], [0_u8; 4]);
    let mut request = attr::MapBatch {
        out_batch: next.as_mut_ptr() as u64,
        keys: key.as_mut_ptr() as u64,
        values: value.as_mut_ptr() as u64,
        count: 1,
        map_fd: map.as_raw_fd(),
        ..Default::default()
    };
    match sys::bpf(Command::MapLookupBatch, &mut request) {
        Ok(_) => true,
        Err(error) => error.raw_os_error() == Some(libc::ENOENT),
    }
}

pub fn btf(kind: BtfKind) -> bool {
    types::load(&smallest_types(kind)).is_ok()
}

fn smallest_types(kind: BtfKind) -> Vec<u8> {
    const INT: u32 = 1 << 24;
    const TYPEDEF: u32 = 8 << 24;
    let (name, alias, int) = (1, 2, 1);
    // Each type: name, kind and number of parts, size or type; then words of its kind.
    let tried: &[u32] = match kind {
        BtfKind::Float => &[name, 16 << 24, 4],
        BtfKind::DeclTag => &[name, 17 << 24, alias, u32::MAX],
        BtfKind::TypeTag => &[name, 18 << 24, int],
        BtfKind::Enum64 => &[name, 19 << 24 | 1, 8, name, 0, 0],
    };
    let words = [&[name, INT, 4, 1 << 24 | 32, name, TYPEDEF, int], tried].concat();
    types::blob(&words, b"\0a\0")
}
