use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

const FRAMES: u32 = 1024;
const FRAME_BYTES: u32 = 2048;
const RX_RING: libc::off_t = 0;
const FILL_RING: libc::off_t = 0x1_0000_0000;

struct Shared {
    at: NonNull<u8>,
    bytes: usize,
}

impl Shared {
    fn map(fd: RawFd, offset: libc::off_t, bytes: usize) -> io::Result<Self> {
        let flags = if fd < 0 { libc::MAP_PRIVATE | libc::MAP_ANONYMOUS } else { libc::MAP_SHARED };
        // SAFETY: a new mapping at a place that the kernel chooses does not affect existing memory.
        let at = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, fd, offset)
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { at: NonNull::new(at.cast()).unwrap(), bytes })
    }

    fn place<T>(&self, offset: usize) -> *mut T {
        assert!(offset + size_of::<T>() <= self.bytes);
        // SAFETY: inside the mapping, as just checked.
        unsafe { self.at.as_ptr().add(offset).cast() }
    }

    fn counter(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: an aligned number inside the mapping, which lives as long as `self`; the kernel too only loads and
        // stores it whole.
        unsafe { &*self.place::<AtomicU32>(offset) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: this value owns the mapping, and nothing points into it any more.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.bytes) };
    }
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Offsets {
    producer: u64,
    consumer: u64,
    entries: u64,
    flags: u64,
}

struct Ring {
    memory: Shared,
    offsets: Offsets,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Descriptor {
    address: u64,
    length: u32,
    options: u32,
}

pub struct XdpSocket {
    receive: Ring,
    fill: Ring,
    memory: Shared,
    // Last, and therefore dropped last.
    fd: OwnedFd,
}

impl XdpSocket {
    pub fn new(interface: u32) -> io::Result<Self> {
        // SAFETY: socket(2) takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just returned this descriptor, and it has no other owner.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let bytes = (FRAMES * FRAME_BYTES) as usize;
        let memory = Shared::map(-1, 0, bytes)?;
        // address, length, bytes of a frame, headroom
        set(&fd, 4, &[memory.at.as_ptr() as u64, bytes as u64, u64::from(FRAME_BYTES)])?;
        for ring in [5, 6, 2] {
            set(&fd, ring, &FRAMES)?;
        }
        let mut offsets = [Offsets::default(); 4];
        let mut size = size_of_val(&offsets) as libc::socklen_t;
        // SAFETY: offsets and size are live, and the size is that of the offsets.
        let result = unsafe {
            libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, 1, offsets.as_mut_ptr().cast(), &mut size)
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        let [receive, _, fill, _] = offsets;
        let ring = |offsets: Offsets, entry: usize, at| {
            let bytes = offsets.entries as usize + FRAMES as usize * entry;
            Ok::<_, io::Error>(Ring { memory: Shared::map(fd.as_raw_fd(), at, bytes)?, offsets })
        };
        let receive = ring(receive, size_of::<Descriptor>(), RX_RING)?;
        let fill = ring(fill, 8, FILL_RING)?;
        let socket = Self { receive, fill, memory, fd };
        for frame in 0..FRAMES {
            socket.give_back(u64::from(frame * FRAME_BYTES));
        }
        const COPY: u16 = 1 << 1;
        let [low, high] = (libc::AF_XDP as u16).to_ne_bytes();
        let [flag_low, flag_high] = COPY.to_ne_bytes();
        let mut address = vec![low, high, flag_low, flag_high];
        address.extend([interface, 0, 0].iter().flat_map(|word: &u32| word.to_ne_bytes()));
        // SAFETY: the address is live and has the given length.
        let result = unsafe {
            libc::bind(socket.fd.as_raw_fd(), address.as_ptr().cast(), address.len() as libc::socklen_t)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
    }

    fn give_back(&self, address: u64) {
        let ring = &self.fill;
        let produced = ring.memory.counter(ring.offsets.producer as usize);
        let number = produced.load(Ordering::Relaxed);
        let at = ring.offsets.entries as usize + (number % FRAMES) as usize * 8;
        // SAFETY: inside the ring, at an entry that the kernel does not read before the counter is updated.
        unsafe { ring.memory.place::<u64>(at).write(address) };
        produced.store(number.wrapping_add(1), Ordering::Release);
    }

    pub fn receive(&self) -> Option<Vec<u8>> {
        let ring = &self.receive;
        let consumed = ring.memory.counter(ring.offsets.consumer as usize);
        let number = consumed.load(Ordering::Relaxed);
        if ring.memory.counter(ring.offsets.producer as usize).load(Ordering::Acquire) == number {
            return None;
        }
        let at = ring.offsets.entries as usize + (number % FRAMES) as usize * size_of::<Descriptor>();
        // SAFETY: inside the ring, at an entry that the kernel has written and does not touch before the counter is
        // updated.
        let packet = unsafe { ring.memory.place::<Descriptor>(at).read() };
        assert_eq!(packet.options, 0, "the packet is in one frame");
        let start = packet.address as usize;
        assert!(start + packet.length as usize <= self.memory.bytes);
        // SAFETY: inside the frames, in one that the kernel does not write until it is returned.
        let bytes = unsafe {
            std::slice::from_raw_parts(self.memory.at.as_ptr().add(start), packet.length as usize).to_vec()
        };
        consumed.store(number.wrapping_add(1), Ordering::Release);
        self.give_back(packet.address - packet.address % u64::from(FRAME_BYTES));
        Some(bytes)
    }
}

impl AsRawFd for XdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

fn set<T>(fd: &OwnedFd, option: i32, value: &T) -> io::Result<()> {
    let size = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value is live and has the given length.
    let result = unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, std::ptr::from_ref(value).cast(), size)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
