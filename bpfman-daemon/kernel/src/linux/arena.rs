//! Arenas (`BPF_MAP_TYPE_ARENA`, Linux 6.9): their addresses and initial contents.

use std::ffi::c_void;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use bpfman_model::MapSpec;

use super::features::page_size;

/// Bytes per write, fewer than the capacity of any pipe.
const PIECE: usize = 4096;

struct Mapping {
    place: *mut c_void,
    bytes: usize,
}

impl Mapping {
    /// Maps at the object's address, or at one chosen by the kernel; all later mappings have the same address.
    fn new(fd: &OwnedFd, spec: &MapSpec, bytes: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // Never replace another mapping at the object's address.
        let fixed = if spec.map_extra == 0 { 0 } else { libc::MAP_FIXED_NOREPLACE };
        let wanted = ptr::without_provenance_mut(usize::try_from(spec.map_extra).unwrap_or_default());
        // SAFETY: a new mapping of an open descriptor, where nothing else is mapped.
        let place = unsafe { libc::mmap(wanted, bytes, access, libc::MAP_SHARED | fixed, fd.as_raw_fd(), 0) };
        if place == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { place, bytes })
    }

    /// Fills the arena by read(2): a failed page allocation is then an error instead of a fatal page fault.
    fn fill(&self, contents: &[u8]) -> io::Result<()> {
        let (source, mut sink) = io::pipe()?;
        let mut done = 0;
        for piece in contents.chunks(PIECE) {
            sink.write_all(piece)?;
            let end = done + piece.len();
            while done < end {
                let to = self.place.wrapping_byte_add(done);
                // SAFETY: `done..end` lies within the mapping, since `contents` is no longer than that; no reference
                // into it exists.
                let read = unsafe { libc::read(source.as_raw_fd(), to, end - done) };
                match usize::try_from(read) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(read) => done += read,
                    Err(_) => {
                        let error = io::Error::last_os_error();
                        if error.kind() != io::ErrorKind::Interrupted {
                            return Err(error);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that was made, to which nothing else refers.
        unsafe { libc::munmap(self.place, self.bytes) };
    }
}

/// Sets address and initial contents: the verifier refuses programs with an arena without addresses.
pub fn prepare(fd: &OwnedFd, spec: &MapSpec) -> io::Result<()> {
    let bytes = spec.max_entries as usize * page_size() as usize;
    if spec.initial.len() > bytes {
        let why = format!("its variables take {} bytes, and it has {bytes}", spec.initial.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    if spec.map_extra != 0 && spec.initial.is_empty() {
        return Ok(());
    }
    let mapping = Mapping::new(fd, spec, bytes)?;
    mapping.fill(&spec.initial)
}

#[cfg(test)]
mod tests {
    use bpfman_model::map_type::ARENA;

    use super::super::create_map::create;
    use super::*;

    const MMAPABLE: u32 = 1 << 10;
    /// `BPF_F_SEGV_ON_FAULT`: only programs allocate pages.
    const SEGV_ON_FAULT: u32 = 1 << 17;

    fn spec(flags: u32, map_extra: u64, initial: Vec<u8>) -> MapSpec {
        MapSpec { flags: MMAPABLE | flags, map_extra, initial, ..MapSpec::sized("area", ARENA, 0, 0, 4) }
    }

    fn is_possible() -> bool {
        let possible = rustix::process::geteuid().is_root() && create(&spec(0, 0, Vec::new()), None).is_ok();
        if !possible {
            println!(
                "SKIPPED(arenas, Linux 6.9, as root): {}",
                std::thread::current().name().unwrap_or_default()
            );
        }
        possible
    }

    #[test]
    fn an_arena_holds_what_its_object_says() {
        if !is_possible() {
            return;
        }
        let contents: Vec<u8> = (0..10_000_u32).map(|number| number as u8).collect();
        for place in [0, 1 << 44] {
            let spec = spec(0, place, contents.clone());
            let fd = create(&spec, None).unwrap();
            let mapping = Mapping::new(&fd, &spec, 4 * page_size() as usize);
            if let Ok(mapping) = mapping {
                // SAFETY: the mapping is longer than `contents`, and nothing writes to it.
                let found = unsafe { std::slice::from_raw_parts(mapping.place.cast::<u8>(), contents.len()) };
                assert_eq!(found, contents);
            } else {
                assert_eq!(place, 0);
            }
        }
    }

    #[test]
    fn arena_too_small_for_its_variables_is_refused_without_a_crash() {
        if !is_possible() {
            return;
        }
        let error = create(&spec(0, 0, vec![1; 5 * page_size() as usize]), None).unwrap_err().to_string();
        assert!(error.contains("\"area\"") && error.contains("its variables take"), "{error}");
        let error = create(&spec(SEGV_ON_FAULT, 0, vec![1; 8]), None).unwrap_err().to_string();
        assert!(error.contains("\"area\"") && error.contains("Bad address"), "{error}");
    }

    #[test]
    fn existing_mapping_at_arena_address_stays() {
        if !is_possible() {
            return;
        }
        let taken = vec![7_u8; 8];
        let page = (taken.as_ptr() as u64) & !u64::from(page_size() - 1);
        let here = spec(0, page, vec![1; 8]);
        let error = create(&here, None).unwrap_err().to_string();
        assert!(error.contains("\"area\"") && error.contains("File exists"), "{error}");
        assert_eq!(taken, [7; 8]);
    }
}
