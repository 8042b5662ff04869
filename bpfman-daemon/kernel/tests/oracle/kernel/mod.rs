#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bpfman_model::{BoundText, MapId};

pub mod af_xdp;
mod maps;
mod network;

pub use maps::{Map, possible_cpus};
pub use network::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramKind {
    Xdp,
    Tcx,
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

/// Returns the kernel's version, for rules that differ between kernels.
pub fn kernel_version() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap())
}

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
        // SAFETY: the attribute is live and has the given length; pointers in it are to buffers that the callers keep.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), self.0.len()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
    }

    fn open(&mut self, command: i32) -> io::Result<OwnedFd> {
        let fd = self.call(command)?;
        // SAFETY: the kernel just returned this descriptor, and it has no other owner.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

pub struct Program(OwnedFd);

impl Program {
    pub fn id(&self) -> u32 {
        let mut info = [0_u32; 2];
        let size = size_of_val(&info) as u32;
        let mut attr = Attr::new().fd(0, self.as_raw_fd()).u32(4, size).pointer(8, info.as_mut_ptr());
        attr.call(15).unwrap();
        info[1]
    }

    pub fn duplicate(&self) -> Self {
        Self(self.0.try_clone().unwrap())
    }
}

impl AsRawFd for Program {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Map ids are indexes in `maps`. The error contains the verifier's log.
pub fn load(text: &BoundText, kind: ProgramKind, maps: &[RawFd]) -> Result<Program, String> {
    load_with_log(text, kind, maps, 0, 0).map(|(program, _)| program)
}

pub fn load_bound(text: &BoundText, maps: &[RawFd], device: u32) -> Result<Program, String> {
    load_with_log(text, ProgramKind::Xdp, maps, 0, device).map(|(program, _)| program)
}

pub struct Verified {
    pub depths: Vec<u32>,
    pub insns: u32,
}

pub fn load_verified(
    text: &BoundText,
    kind: ProgramKind,
    maps: &[RawFd],
) -> Result<(Program, Verified), String> {
    let (program, log) = load_with_log(text, kind, maps, 4, 0)?;
    let after = |what: &str| {
        let found = log.lines().find_map(|line| line.strip_prefix(what)?.split_whitespace().next());
        found.ok_or_else(|| format!("no {what:?} in the log {log:?}"))
    };
    let depths = after("stack depth ")?;
    let depths = depths.split('+').map(|depth| depth.parse().map_err(|_| format!("depths {depths:?}")));
    let insns = after("processed ")?.parse().map_err(|error| format!("processed: {error}"))?;
    Ok((program, Verified { depths: depths.collect::<Result<_, _>>()?, insns }))
}

fn load_with_log(
    text: &BoundText,
    kind: ProgramKind,
    maps: &[RawFd],
    level: u32,
    device: u32,
) -> Result<(Program, String), String> {
    const FRAGS: u32 = 1 << 5;
    const BOUND: u32 = 1 << 6;
    let program = &text.0;
    let mut insns = program.insns.clone();
    for at in text.map_references() {
        let MapId(place) = MapId(insns[at].imm.cast_unsigned());
        insns[at].imm = maps[place as usize];
    }
    let licence = format!("{}\0", program.license);
    let btf = program.btf.as_ref().map(|raw| shared_btf(raw)).transpose()?;
    let (kind, attach) = kind.type_and_attach_type();
    let flags = if program.frags { FRAGS } else { 0 } | if device > 0 { BOUND } else { 0 };
    let attributes = |log: &mut [u8], level: u32| {
        let mut attr = Attr::new()
            .u32(0, kind)
            .u32(4, insns.len() as u32)
            .pointer(8, insns.as_ptr())
            .pointer(16, licence.as_ptr())
            .u32(44, flags)
            .name(48, &program.name[..program.name.len().min(15)])
            .u32(64, device)
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

/// Loads BTF; equal bytes share one BTF object while it is held, because the kernel compares types of maps and programs by
/// object.
pub fn shared_btf(raw: &[u8]) -> Result<Arc<OwnedFd>, String> {
    static LOADED: Mutex<BTreeMap<Vec<u8>, Weak<OwnedFd>>> = Mutex::new(BTreeMap::new());
    let mut loaded = LOADED.lock().unwrap();
    if let Some(object) = loaded.get(raw).and_then(Weak::upgrade) {
        return Ok(object);
    }
    let object = Arc::new(load_btf(raw)?);
    loaded.retain(|_, object| object.strong_count() > 0);
    loaded.insert(raw.to_vec(), Arc::downgrade(&object));
    Ok(object)
}

fn load_btf(raw: &[u8]) -> Result<OwnedFd, String> {
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

fn tail(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let mut end = String::new();
    for line in &lines[lines.len().saturating_sub(80)..] {
        let _ = writeln!(end, "{line}");
    }
    end
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub data: Vec<u8>,
    /// XDP: bytes of metadata. TC: mark, priority and the five words of cb.
    pub context: Vec<u32>,
}

pub fn is_loaded(id: u32) -> bool {
    Attr::new().u32(0, id).open(13).is_ok()
}

pub fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is live and has the layout that the kernel expects.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "every thread has this clock");
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

/// Runs a program `times` times on one packet, which it must not change.
pub fn repeat(program: &Program, packet: &[u8], times: u32) -> io::Result<()> {
    Attr::new()
        .fd(0, program.as_raw_fd())
        .u32(8, packet.len() as u32)
        .pointer(16, packet.as_ptr())
        .u32(32, times)
        .call(10)
        .map(drop)
}

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
