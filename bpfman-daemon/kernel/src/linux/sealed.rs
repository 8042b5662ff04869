//! Memory that several processes read and that cannot change any more.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, memfd_create};

const UNCHANGED: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);

/// Writes contents to a new memory file, and seals it.
pub fn seal(write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<OwnedFd> {
    const NAME: &str = "bpfman";
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = match memfd_create(NAME, flags | MemfdFlags::NOEXEC_SEAL) {
        // Kernels before Linux 6.3 do not know the flag.
        Err(rustix::io::Errno::INVAL) => memfd_create(NAME, flags)?,
        made => made?,
    };
    let mut file = File::from(memory);
    write(&mut file)?;
    let memory = OwnedFd::from(file);
    fcntl_add_seals(&memory, UNCHANGED | SealFlags::SEAL)?;
    Ok(memory)
}

/// Sealed memory, mapped until dropped, even if its descriptor is closed.
#[derive(Debug)]
pub struct SealedMapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory is only read, and no process can change it.
unsafe impl Send for SealedMapping {}
// SAFETY: the memory is only read, and no process can change it.
unsafe impl Sync for SealedMapping {}

impl SealedMapping {
    /// Maps all of the memory; fails if it is not sealed, or empty.
    pub fn new(memory: impl AsFd) -> io::Result<Self> {
        if !fcntl_get_seals(&memory)?.contains(UNCHANGED) {
            return Err(io::Error::other("the memory is not sealed"));
        }
        let length = usize::try_from(fstat(&memory)?.st_size).unwrap_or(0);
        // SAFETY: the kernel chooses addresses that are not in use. Contents and size are sealed, so the mapped memory
        // neither changes nor goes away.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ,
                // Before Linux 6.7 memory that cannot be written cannot be mapped as shared either.
                libc::MAP_PRIVATE,
                memory.as_fd().as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("it is mapped at zero"))?;
        Ok(Self { start, length })
    }
}

impl AsRef<[u8]> for SealedMapping {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: this many bytes are mapped from that address until this value is dropped, and no process changes
        // them.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for SealedMapping {
    fn drop(&mut self) {
        // SAFETY: these addresses were mapped by `new`, and no reference into them is left.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.length);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn sealed_memory_is_read_and_never_written() {
        let memory = seal(|file| file.write_all(b"types")).unwrap();
        let mapping = SealedMapping::new(&memory).unwrap();
        let mut file = File::from(memory.try_clone().unwrap());
        assert!(file.write_all(b"x").is_err() && file.set_len(0).is_err() && file.set_len(99).is_err());
        drop((file, memory));
        assert_eq!(mapping.as_ref(), b"types");
        let open = memfd_create("open", MemfdFlags::CLOEXEC).unwrap();
        assert!(SealedMapping::new(open).unwrap_err().to_string().contains("not sealed"));
    }
}
