//! Feature checks with minimal programs, links and types. All of them are removed again.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use bpfmand_core::uapi::attach_type;
use bpfmand_core::{BoundText, IfIndex, Insn, MapSpec, ProgramType, map_type, op};

use super::attr::{self, Command};
use super::{create_map, load, sys, tcx, test_run, types};
use crate::{Device, KernelError, ListAnchor, ProgramKind, ProgramLoad, TestContext, TestRun};

const MOVE: u8 = 0xb7;
const STORE: u8 = 0x7a;
const CALL: u8 = 0x85;
const JUMP_IF_EQUAL: u8 = 0x15;
/// `BPF_JMP32 | BPF_JA`: a jump with its offset in the immediate value.
const LONG_JUMP: u8 = 0x06;
const FRAME: u8 = 10;
const PASS: i32 = 2;
/// Index of `lo`, which exists in every network namespace.
const LOOPBACK: IfIndex = IfIndex(1);
/// `BPF_F_NETFILTER_IP_DEFRAG`.
const DEFRAGMENT: u32 = 1;
/// `NFPROTO_IPV4`.
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

/// Returns the kernel's answer to a link of a minimal program. A link that was made is removed again.
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

/// Checks jumps with 32-bit offsets, with a jump over an instruction that is reached by another way. Stable kernels may
/// have them earlier than the upstream version, as Debian's 6.1 does.
pub fn long_jumps() -> bool {
    let unless_null = Insn::new(JUMP_IF_EQUAL, 1, 0, 1, 0);
    let over_one = Insn::new(LONG_JUMP, 0, 0, 0, 1);
    load(ProgramType::Xdp, vec![answer(PASS), unless_null, over_one, answer(1), exit()]).is_ok()
}

/// Checks two frames that share the 512 bytes of a stack only if neither is rounded up to 32.
pub fn frames_by_16() -> bool {
    let store = |at| Insn::new(STORE, FRAME, 0, at, 0);
    let call = Insn::new(CALL, 0, 1, 0, 2);
    let insns = vec![store(-272), call, answer(PASS), exit(), store(-240), answer(0), exit()];
    load(ProgramType::Xdp, insns).is_ok()
}

/// Checks XDP programs for one interface, with `lo`, which has no driver that knows packets. A kernel without the
/// feature gives another answer.
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

/// Checks test runs of XDP programs with a context.
pub fn xdp_contexts() -> bool {
    let told = TestContext::Xdp { metadata: 0, ingress_ifindex: 0, rx_queue: 0 };
    let run = TestRun { context: told, ..TestRun::once(&[0; 64]) };
    load(ProgramType::Xdp, vec![answer(PASS), exit()])
        .is_ok_and(|program| test_run::run_here(&program, &run).is_ok())
}

/// Checks links on perf events, with a link on no event. A kernel without the feature gives another answer.
pub fn perf_links() -> bool {
    let on_nothing = |program: &OwnedFd, _| attr::LinkCreate {
        prog_fd: program.as_raw_fd(),
        target: u32::MAX,
        attach_type: attach_type::PERF_EVENT,
        ..Default::default()
    };
    is(link(ProgramType::Tracepoint, on_nothing), &[libc::EBADF])
}

/// Checks places in the lists of cgroups, with the list of no cgroup.
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

/// Returns whether the kernel has links to sockmaps: tries one to no map.
pub fn sockmap_links() -> bool {
    let to_none = |program: &OwnedFd, attach_type| attr::LinkCreate {
        prog_fd: program.as_raw_fd(),
        target: u32::MAX,
        attach_type,
        ..Default::default()
    };
    is(link(ProgramType::SkMsg, to_none), &[libc::EBADF])
}

/// Checks links at netkit devices, with `lo`, which is none.
pub fn netkit() -> bool {
    let at_loopback = |program: &OwnedFd, _| attr::LinkCreate {
        prog_fd: program.as_raw_fd(),
        target: LOOPBACK.0,
        attach_type: attach_type::NETKIT_PRIMARY,
        ..Default::default()
    };
    is(link(ProgramType::Netkit, at_loopback), &[libc::ENXIO])
}

/// Checks links to many kernel functions. The address of the names is invalid: they are read before anything is looked
/// up.
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

/// Checks links to many functions of a file, with a folder, which has none.
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

/// Checks links to raw trace points with a cookie, with a link of no program.
pub fn raw_cookies() -> bool {
    let mut request = attr::RawTracepoint { prog_fd: -1, cookie: 1, ..Default::default() };
    is(Some(sys::bpf_fd(Command::RawTracepointOpen, &mut request).map(drop)), &[libc::EBADF])
}

/// Checks netfilter programs that see whole packets, at a priority that no program may have. The kernel checks the
/// priority last.
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

/// Kind of types that a kernel may not know.
#[derive(Clone, Copy)]
pub enum BtfKind {
    /// Floating-point number.
    Float,
    /// Tag of a declaration.
    DeclTag,
    /// Tag of a type.
    TypeTag,
    /// Enumeration of 64 bits.
    Enum64,
}

/// Returns whether entries of hash tables are read in batches. The check uses an empty table.
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

/// Returns whether types of this kind can be loaded.
pub fn btf(kind: BtfKind) -> bool {
    types::load(&smallest_types(kind)).is_ok()
}

/// Returns an integer, an alias of it, and one type of the kind.
fn smallest_types(kind: BtfKind) -> Vec<u8> {
    const INT: u32 = 1 << 24;
    const TYPEDEF: u32 = 8 << 24;
    let (name, alias, int) = (1, 2, 1);
    // Each type: name, kind and number of its parts, size or type; then the additional words of its kind.
    let tried: &[u32] = match kind {
        BtfKind::Float => &[name, 16 << 24, 4],
        BtfKind::DeclTag => &[name, 17 << 24, alias, u32::MAX],
        BtfKind::TypeTag => &[name, 18 << 24, int],
        BtfKind::Enum64 => &[name, 19 << 24 | 1, 8, name, 0, 0],
    };
    let words = [&[name, INT, 4, 1 << 24 | 32, name, TYPEDEF, int], tried].concat();
    types::blob(&words, b"\0a\0")
}
