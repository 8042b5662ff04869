//! Memory and descriptors of a caller, with no more rights than those of its user.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// Memory of the process of a calling thread. Addresses are the caller's, of a type that is no pointer here.
#[derive(Clone, Copy, Debug)]
pub struct CallerMemory {
    thread: i32,
}

const PAGE: u64 = 4096;

impl CallerMemory {
    /// Names the memory by the calling thread. Another process may get the thread's id once the thread no
    /// longer waits: check that it waits after each read that a decision depends on.
    #[must_use]
    pub const fn of(thread: u32) -> Self {
        Self { thread: thread as i32 }
    }

    /// Fills a buffer from an address of the caller.
    ///
    /// # Errors
    /// `EFAULT` if not all bytes can be read, `EPERM` if the user may not read the caller's memory.
    pub fn read(self, from: u64, to: &mut [u8]) -> io::Result<()> {
        let local = libc::iovec { iov_base: to.as_mut_ptr().cast(), iov_len: to.len() };
        let remote = libc::iovec { iov_base: from as *mut libc::c_void, iov_len: to.len() };
        // SAFETY: the local buffer is live and exclusively borrowed. The kernel resolves the remote address in the other
        // process.
        let read =
            unsafe { libc::process_vm_readv(self.thread, &raw const local, 1, &raw const remote, 1, 0) };
        whole(read, to.len())
    }

    /// Writes bytes to an address of the caller.
    ///
    /// # Errors
    /// `EFAULT` and `EPERM`, as for reads. A part may be written.
    pub fn write(self, to: u64, bytes: &[u8]) -> io::Result<()> {
        let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let remote = libc::iovec { iov_base: to as *mut libc::c_void, iov_len: bytes.len() };
        // SAFETY: the kernel only reads the local buffer, which is live. It resolves the remote address in the other process.
        let written =
            unsafe { libc::process_vm_writev(self.thread, &raw const local, 1, &raw const remote, 1, 0) };
        whole(written, bytes.len())
    }

    /// Reads a text of at most `most` bytes, its zero included, and returns it without the zero.
    ///
    /// # Errors
    /// `E2BIG` if no zero is among the bytes.
    pub fn read_text(self, from: u64, most: usize) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        while text.len() < most {
            // Page by page: the text may end before a page that is not mapped.
            let at = from.wrapping_add(text.len() as u64);
            let step = (PAGE - at % PAGE).min((most - text.len()) as u64) as usize;
            let begin = text.len();
            text.resize(begin + step, 0);
            self.read(at, &mut text[begin..])?;
            if let Some(end) = text[begin..].iter().position(|byte| *byte == 0) {
                text.truncate(begin + end);
                return Ok(text);
            }
        }
        Err(io::Error::from_raw_os_error(libc::E2BIG))
    }
}

fn whole(moved: isize, wanted: usize) -> io::Result<()> {
    match usize::try_from(moved) {
        Ok(moved) if moved == wanted => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Descriptors of a calling thread.
#[derive(Debug)]
pub struct CallerDescriptors {
    process: OwnedFd,
}

/// `PIDFD_THREAD` (Linux 6.9).
const OF_THREAD: libc::c_int = libc::O_EXCL;

impl CallerDescriptors {
    /// Opens the thread's table of descriptors; before Linux 6.9, the table of its process, which is the same
    /// unless the thread has its own.
    pub fn of(thread: u32) -> io::Result<Self> {
        Self::open(thread, OF_THREAD).or_else(|_older| Self::open(thread, 0)).or_else(
            |error| match process_of(thread) {
                Some(process) => Self::open(process, 0),
                None => Err(error),
            },
        )
    }

    fn open(id: u32, flags: libc::c_int) -> io::Result<Self> {
        // SAFETY: the call touches no memory of this process.
        let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, id, flags) };
        Ok(Self { process: owned(descriptor)? })
    }

    /// Returns another descriptor of the same open file.
    ///
    /// # Errors
    /// `EBADF` if the caller has no such descriptor.
    pub fn get(&self, number: i32) -> io::Result<OwnedFd> {
        // SAFETY: the call touches no memory of this process.
        owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, self.process.as_raw_fd(), number, 0) })
    }
}

fn process_of(thread: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}

fn owned(descriptor: i64) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so its answer is a new descriptor without another owner.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as i32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_and_written_whole_or_refused() {
        let own = CallerMemory::of(std::process::id());
        let (text, mut buffer) = (*b"some text\0and more", vec![0_u8; 4]);
        let address = text.as_ptr() as u64;
        own.read(address, &mut buffer).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(buffer, b"some");
        own.write(buffer.as_ptr() as u64, b"else").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(std::hint::black_box(&buffer), b"else");
        assert_eq!(own.read_text(address, 18).ok().as_deref(), Some(&b"some text"[..]));
        assert_eq!(own.read_text(address, 9).map_err(|error| error.raw_os_error()), Err(Some(libc::E2BIG)));
        for wrong in [0, 8, u64::MAX - 2] {
            assert_eq!(
                own.read(wrong, &mut buffer).map_err(|error| error.raw_os_error()),
                Err(Some(libc::EFAULT))
            );
        }
    }

    #[test]
    fn descriptors_are_of_the_same_open_file() {
        let own = CallerDescriptors::of(std::process::id()).unwrap_or_else(|error| panic!("{error}"));
        let (reader, mut writer) = std::io::pipe().unwrap_or_else(|error| panic!("{error}"));
        let mut copy =
            std::fs::File::from(own.get(reader.as_raw_fd()).unwrap_or_else(|error| panic!("{error}")));
        std::io::Write::write_all(&mut writer, b"x").unwrap_or_else(|error| panic!("{error}"));
        let mut byte = [0];
        std::io::Read::read_exact(&mut copy, &mut byte).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(byte, *b"x");
        assert_eq!(own.get(4711).map_err(|error| error.raw_os_error()).err(), Some(Some(libc::EBADF)));
    }
}
