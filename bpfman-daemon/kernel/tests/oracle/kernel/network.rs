use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::{Attr, Program};

pub struct Link(OwnedFd);

/// Detaches the link: closing its descriptor is not enough, since a process that lists links may hold another one.
impl Drop for Link {
    fn drop(&mut self) {
        let _gone = Attr::new().fd(0, self.0.as_raw_fd()).call(34);
    }
}

pub fn attach_tcx_ingress(program: &Program, interface: u32) -> io::Result<Link> {
    Attr::new().fd(0, program.as_raw_fd()).u32(4, interface).u32(8, 46).open(28).map(Link)
}

pub fn own_network_namespace() -> io::Result<()> {
    // SAFETY: unshare(2) takes no pointers; only this thread changes its namespace.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn packet_socket(protocol: u16) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: socket(2) takes no pointers.
    let socket = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(protocol.to_be())) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just returned this descriptor, and it has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

fn address(interface: u32, protocol: u16) -> libc::sockaddr_ll {
    // SAFETY: all fields of the address are numbers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = interface.cast_signed();
    address.sll_halen = 6;
    address
}

pub struct Sender {
    socket: OwnedFd,
    address: libc::sockaddr_ll,
}

impl Sender {
    pub fn new(interface: u32) -> io::Result<Self> {
        Ok(Self { socket: packet_socket(0)?, address: address(interface, 0) })
    }

    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: frame and address are live and have the given lengths.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                std::ptr::from_ref(&self.address).cast(),
                size_of_val(&self.address) as u32,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

pub fn send_frame(interface: u32, frame: &[u8]) -> io::Result<()> {
    Sender::new(interface)?.send(frame)
}

pub fn tap(interface: u32) -> io::Result<OwnedFd> {
    const EVERYTHING: u16 = 3;
    // Bound before it receives, so that it never receives frames of another interface.
    let socket = packet_socket(0)?;
    let address = address(interface, EVERYTHING);
    // SAFETY: the address is live and has the given length.
    let result = unsafe {
        libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), size_of_val(&address) as u32)
    };
    if result == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

pub fn receive(tap: &OwnedFd, count: usize) -> io::Result<Vec<Vec<u8>>> {
    let mut frames = Vec::new();
    while frames.len() < count {
        let mut frame = vec![0_u8; 2048];
        // SAFETY: the buffer is live and has the given length.
        let got = unsafe {
            libc::recv(tap.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), libc::MSG_DONTWAIT)
        };
        if got < 0 {
            return Err(io::Error::last_os_error());
        }
        frame.truncate(got as usize);
        frames.push(frame);
    }
    Ok(frames)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    Generic,
    Native,
}

pub fn attach_xdp(program: &Program, interface: u32, mode: XdpMode) -> io::Result<Link> {
    let flags = if mode == XdpMode::Generic { 1 << 1 } else { 1 << 2 };
    Attr::new().fd(0, program.as_raw_fd()).u32(4, interface).u32(8, 37).u32(12, flags).open(28).map(Link)
}

pub fn replace(link: &Link, program: &Program) -> io::Result<()> {
    Attr::new().fd(0, link.0.as_raw_fd()).fd(4, program.as_raw_fd()).call(29).map(drop)
}

pub fn pin(object: &impl AsRawFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    Attr::new().pointer(0, path.as_ptr()).fd(8, object.as_raw_fd()).call(6).map(drop)
}

pub fn interface(name: &str) -> u32 {
    let name = CString::new(name).unwrap();
    // SAFETY: the name is live and ends with a zero.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    assert_ne!(index, 0, "no interface {name:?}");
    index
}

pub fn own_mount_namespace() -> io::Result<()> {
    // SAFETY: pointers are to strings that end with a zero, or null if the call takes none.
    unsafe {
        if libc::unshare(libc::CLONE_NEWNS) != 0
            || libc::mount(
                std::ptr::null(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            ) != 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

pub fn stay_on_one_cpu() -> io::Result<u32> {
    // SAFETY: sched_getcpu(3) takes no pointers.
    let here = unsafe { libc::sched_getcpu() };
    // SAFETY: a set of CPUs is bits, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel's number of a CPU is below the size of the set, and the set is live and has the given length.
    let result = unsafe {
        libc::CPU_SET(here.cast_unsigned() as usize, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set)
    };
    if result == 0 { Ok(here.cast_unsigned()) } else { Err(io::Error::last_os_error()) }
}

/// The kernel makes frames and sends them as the program decides (Linux 5.18).
pub fn send_live_frames(program: &Program, frame: &[u8], count: u32, batch: u32) -> io::Result<()> {
    const LIVE_FRAMES: u32 = 1 << 1;
    let mut context = [0_u32; 6];
    context[1] = frame.len() as u32;
    Attr::new()
        .fd(0, program.as_raw_fd())
        .u32(8, frame.len() as u32)
        .pointer(16, frame.as_ptr())
        .u32(32, count)
        .u32(40, 24)
        .pointer(48, context.as_ptr())
        .u32(64, LIVE_FRAMES)
        .u32(72, batch)
        .call(10)
        .map(drop)
}

/// With "generic receive offload", a virtual interface accepts redirected frames without an XDP program.
pub fn receive_redirected_frames(interface: &str) -> io::Result<()> {
    const SET_GRO: u32 = 0x2c;
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    let mut value = [SET_GRO, 1];
    // SAFETY: all fields of the request are numbers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: the request and the value that it points to are live and have the layout that the kernel expects.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &mut request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
