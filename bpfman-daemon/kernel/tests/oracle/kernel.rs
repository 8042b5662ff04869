//! The few calls of bpf(2) that the oracle needs: maps, type information, loading, running once.

#![allow(unsafe_code)]

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use bpfmand_core::{BoundText, MapId, MapRole, MapSpec};

/// Loads programs whose map references carry places in a list of descriptors as ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramKind {
    Xdp,
    /// `SCHED_CLS`, for a tcx link.
    Tcx,
    /// `SCHED_CLS`, for a clsact filter.
    Clsact,
}

impl ProgramKind {
    fn type_and_attach_type(self) -> (u32, u32) {
        match self {
            Self::Xdp => (6, 37),
            Self::Tcx => (3, if kernel_version() < (6, 6) { 0 } else { 46 }),
            Self::Clsact => (3, 0),
        }
    }
}

/// Version and patch level of the running kernel. Tests ask only where the kernel's rules differ.
pub fn kernel_version() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// `union bpf_attr` as bytes: fields are written at their offsets.
struct Attr([u8; 168]);

impl Attr {
    fn new() -> Self {
        Self([0; 168])
    }

    fn u32(mut self, at: usize, value: u32) -> Self {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn fd(self, at: usize, fd: RawFd) -> Self {
        self.u32(at, fd.cast_unsigned())
    }

    fn pointer<T>(mut self, at: usize, pointer: *const T) -> Self {
        self.0[at..at + 8].copy_from_slice(&(pointer as u64).to_ne_bytes());
        self
    }

    fn name(mut self, at: usize, name: &str) -> Self {
        self.0[at..at + name.len()].copy_from_slice(name.as_bytes());
        self
    }

    fn read(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.0[at..at + 4].try_into().unwrap())
    }

    fn call(&mut self, command: i32) -> io::Result<i32> {
        // SAFETY: the attribute is live and as long as said; pointers in it are to buffers that the callers keep.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), self.0.len()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
    }

    fn open(&mut self, command: i32) -> io::Result<OwnedFd> {
        let fd = self.call(command)?;
        // SAFETY: the kernel just gave this descriptor to us alone.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// Entries that are read of a map: a table of all 65,536 ports would take most of the time.
const MOST_ENTRIES: usize = 2048;

const PROG_ARRAY: u32 = 3;

/// A map and what is needed to read all of it.
pub struct Map {
    pub fd: OwnedFd,
    kind: u32,
    value_size: usize,
    key_size: usize,
}

impl Map {
    pub fn create(kind: u32, key: u32, value: u32, entries: u32, flags: u32) -> io::Result<Self> {
        let mut attr = Attr::new().u32(0, kind).u32(4, key).u32(8, value).u32(12, entries).u32(16, flags);
        let per_cpu = matches!(kind, 5 | 6 | 10);
        let copies = if per_cpu { possible_cpus() } else { 1 };
        let value_size = if per_cpu { value.next_multiple_of(8) } else { value } as usize * copies;
        Ok(Self { fd: attr.open(0)?, kind, value_size, key_size: key as usize })
    }

    /// A map as an object declares it, with its first contents and the types of its key and value.
    pub fn from_spec(spec: &MapSpec, btf: Option<&OwnedFd>) -> io::Result<Self> {
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
        let fd = attr.open(0)?;
        let map = Self::create(spec.map_type, spec.key_size, spec.value_size, entries, spec.flags)?;
        let map = Self { fd, ..map };
        if !spec.initial.is_empty() {
            map.update(&0u32.to_ne_bytes(), &spec.initial)?;
        }
        if spec.role == MapRole::Rodata {
            Attr::new().fd(0, map.fd.as_raw_fd()).call(22)?;
        }
        Ok(map)
    }

    pub fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.element(key).pointer(16, value.as_ptr()).call(2).map(drop)
    }

    fn element(&self, key: &[u8]) -> Attr {
        Attr::new().fd(0, self.fd.as_raw_fd()).pointer(8, key.as_ptr())
    }

    /// Keys with their values, by key; of huge maps the first ones.
    pub fn contents(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all = Vec::new();
        if self.kind == PROG_ARRAY {
            return all; // Shows ids, which no member can change.
        }
        let mut key: Option<Vec<u8>> = None;
        for _ in 0..MOST_ENTRIES {
            let mut next = vec![0; self.key_size];
            let from = key.as_ref().map_or(std::ptr::null(), Vec::as_ptr);
            let mut attr = Attr::new().fd(0, self.fd.as_raw_fd());
            attr = attr.pointer(8, from).pointer(16, next.as_mut_ptr());
            if attr.call(4).is_err() {
                break;
            }
            let mut value = vec![0; self.value_size];
            if self.element(&next).pointer(16, value.as_mut_ptr()).call(1).is_ok() {
                all.push((next.clone(), value));
            }
            key = Some(next);
        }
        all.sort();
        all
    }
}

fn possible_cpus() -> usize {
    let range = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap();
    range.trim().rsplit(['-', ',']).next().unwrap().parse::<usize>().unwrap() + 1
}

/// A loaded program.
pub struct Program(OwnedFd);

impl AsRawFd for Program {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Loads a program; map ids are places in `maps`. The error carries the verifier's log.
pub fn load(text: &BoundText, kind: ProgramKind, maps: &[RawFd]) -> Result<Program, String> {
    load_with_log(text, kind, maps, 0).map(|(program, _)| program)
}

/// The stack depth of each function as the verifier counts it, from its log of level 4.
pub fn stack_depths(text: &BoundText, kind: ProgramKind, maps: &[RawFd]) -> Result<Vec<u32>, String> {
    let (_, log) = load_with_log(text, kind, maps, 4)?;
    let depths =
        log.lines().find_map(|line| line.strip_prefix("stack depth ")).ok_or("no depths in the log")?;
    let depths = depths.split_whitespace().next().unwrap_or_default();
    depths.split('+').map(|depth| depth.parse().map_err(|_| format!("depths {depths:?}"))).collect()
}

fn load_with_log(
    text: &BoundText,
    kind: ProgramKind,
    maps: &[RawFd],
    level: u32,
) -> Result<(Program, String), String> {
    let program = &text.0;
    let mut insns = program.insns.clone();
    for at in text.map_references() {
        let MapId(place) = MapId(insns[at].imm.cast_unsigned());
        insns[at].imm = maps[place as usize];
    }
    let licence = format!("{}\0", program.license);
    let btf = program.btf.as_ref().map(|raw| load_btf(raw)).transpose()?;
    let (kind, attach) = kind.type_and_attach_type();
    let frags = if program.frags { 1 << 5 } else { 0 };
    let attributes = |log: &mut [u8], level: u32| {
        let mut attr = Attr::new()
            .u32(0, kind)
            .u32(4, insns.len() as u32)
            .pointer(8, insns.as_ptr())
            .pointer(16, licence.as_ptr())
            .u32(44, frags)
            .name(48, &program.name[..program.name.len().min(15)])
            .u32(68, attach);
        if let Some(btf) = &btf {
            attr = attr
                .fd(72, btf.as_raw_fd())
                .u32(76, 8)
                .pointer(80, program.func_info.as_ptr())
                .u32(88, program.func_info.len() as u32)
                .u32(92, 16)
                .pointer(96, program.line_info.as_ptr())
                .u32(104, program.line_info.len() as u32);
        }
        if level > 0 {
            attr = attr.u32(24, level).u32(28, log.len() as u32).pointer(32, log.as_mut_ptr());
        }
        attr
    };
    let mut log = vec![0; if level == 0 { 0 } else { 1 << 16 }];
    match attributes(&mut log, level).open(5) {
        Ok(fd) => Ok((Program(fd), tail(&log))),
        Err(error) => {
            let mut log = vec![0; 1 << 24];
            let again = attributes(&mut log, 1).open(5);
            Err(format!("{error}, again: {:?}\n{}", again.map(drop), tail(&log)))
        }
    }
}

pub fn load_btf(raw: &[u8]) -> Result<OwnedFd, String> {
    let attributes = |log: &mut [u8], level: u32| {
        Attr::new()
            .pointer(0, raw.as_ptr())
            .pointer(8, if level > 0 { log.as_mut_ptr() } else { std::ptr::null_mut() })
            .u32(16, raw.len() as u32)
            .u32(20, log.len() as u32)
            .u32(24, level)
    };
    attributes(&mut [], 0).open(18).map_err(|error| {
        let mut log = vec![0; 1 << 22];
        let _ = attributes(&mut log, 1).open(18);
        format!("BTF: {error}\n{}", tail(&log))
    })
}

/// The end of a log, where the reason is.
fn tail(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let mut end = String::new();
    for line in &lines[lines.len().saturating_sub(80)..] {
        let _ = writeln!(end, "{line}");
    }
    end
}

/// A packet and the context fields that pass from one program to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Metadata (XDP), then the packet.
    pub data: Vec<u8>,
    /// XDP: bytes of metadata. TC: mark, priority and the five words of cb.
    pub context: Vec<u32>,
}

/// Runs a program once: its verdict, and the packet as it left it.
pub fn run(program: &Program, kind: ProgramKind, packet: &Packet) -> io::Result<(i32, Packet)> {
    let mut data = vec![0u8; 1 << 16];
    let mut context_in = [0u32; 48];
    match kind {
        ProgramKind::Xdp => {
            context_in[0] = packet.context[0];
            context_in[1] = packet.data.len() as u32;
        }
        ProgramKind::Tcx | ProgramKind::Clsact => {
            context_in[2] = packet.context[0];
            context_in[8] = packet.context[1];
            context_in[12..17].copy_from_slice(&packet.context[2..7]);
        }
    }
    let context_size = if kind == ProgramKind::Xdp { 24 } else { 192 };
    let mut context_out = [0u32; 48];
    let mut attr = Attr::new()
        .fd(0, program.as_raw_fd())
        .u32(8, packet.data.len() as u32)
        .u32(12, data.len() as u32)
        .pointer(16, packet.data.as_ptr())
        .pointer(24, data.as_mut_ptr())
        .u32(40, context_size)
        .u32(44, context_size)
        .pointer(48, context_in.as_ptr())
        .pointer(56, context_out.as_mut_ptr());
    attr.call(10)?;
    data.truncate(attr.read(12) as usize);
    let context = match kind {
        ProgramKind::Xdp => vec![context_out[0]],
        ProgramKind::Tcx | ProgramKind::Clsact => {
            let mut fields = vec![context_out[2], context_out[8]];
            fields.extend_from_slice(&context_out[12..17]);
            fields
        }
    };
    Ok((attr.read(4).cast_signed(), Packet { data, context }))
}

/// A tcx link; the program is detached when it is dropped.
pub fn attach_tcx_ingress(program: &Program, interface: u32) -> io::Result<OwnedFd> {
    Attr::new().fd(0, program.as_raw_fd()).u32(4, interface).u32(8, 46).open(28)
}

/// Moves this thread, and what it starts, into a network namespace of its own.
pub fn own_network_namespace() -> io::Result<()> {
    // SAFETY: no pointers; only this thread changes its namespace.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a frame out of an interface.
pub fn send_frame(interface: u32, frame: &[u8]) -> io::Result<()> {
    // SAFETY: no pointers.
    let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave this descriptor to us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: all fields of the address are numbers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = interface.cast_signed();
    address.sll_halen = 6;
    // SAFETY: frame and address are live and as long as said.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            std::ptr::from_ref(&address).cast(),
            size_of_val(&address) as u32,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
