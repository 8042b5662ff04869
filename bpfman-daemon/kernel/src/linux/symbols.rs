//! Files and functions that user-space probes name.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use super::processes;

/// What is read of a file at most, in bytes: no target is larger, but a file can claim to be.
const MAX_TARGET: u64 = 1 << 30;
const MAX_CACHE: u64 = 16 << 20;

/// A file to probe. It stays the same one whatever becomes of its name.
#[derive(Debug)]
pub struct TargetFile {
    file: File,
    /// Where it was found, as the process sees it.
    path: PathBuf,
}

impl TargetFile {
    /// A path by which the kernel finds this very file, while the value lives.
    pub fn reopen_path(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }
}

/// Finds the file of a target: an absolute path, or a library by name, as the process sees it if one is given.
pub fn find_file(target: &str, container_pid: Option<u32>) -> Result<TargetFile, String> {
    let root = match container_pid {
        None => Root::Host,
        Some(pid) => Root::process(pid)?,
    };
    if target.starts_with('/') {
        return root.open(Path::new(target), MAX_TARGET).map_err(|error| format!("{target}: {error}"));
    }
    if target.is_empty() || target.contains('/') {
        return Err("a target is an absolute path or the name of a library".to_owned());
    }
    library_from_cache(&root, target)
        .into_iter()
        .chain(library_from_folders(target))
        .find_map(|path| root.open(&path, MAX_TARGET).ok())
        .ok_or_else(|| "no library of that name in the loader's cache or its usual folders".to_owned())
}

/// What `/` is for a path.
enum Root {
    Host,
    /// Of a process in a container. Whoever made its files also made its links, which must not lead out of it.
    Process(OwnedFd),
}

impl Root {
    /// The root folder that a process sees.
    fn process(pid: u32) -> Result<Self, String> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = processes::root().join(pid.to_string()).join("root");
        rustix::fs::open(path, flags, Mode::empty())
            .map(Self::Process)
            .map_err(|_| format!("process {pid} does not exist"))
    }

    /// Opens a regular file of at most so many bytes, and nothing else: not even to look, as to open a device may
    /// already do something, and to open a pipe may never return.
    fn open(&self, path: &Path, limit: u64) -> io::Result<TargetFile> {
        let look = OFlags::PATH | OFlags::CLOEXEC;
        let place = match self {
            // Links of the host are root's own, and those in /proc name files too.
            Self::Host => rustix::fs::open(path, look, Mode::empty()),
            Self::Process(root) => {
                let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                retried(|| rustix::fs::openat2(root, path, look, Mode::empty(), inside))
            }
        }?;
        let found = rustix::fs::fstat(&place)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a file"));
        }
        if u64::try_from(found.st_size).is_ok_and(|size| size > limit) {
            return Err(too_large(limit));
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file =
            rustix::fs::open(format!("/proc/self/fd/{}", place.as_raw_fd()), flags, Mode::empty())?.into();
        Ok(TargetFile { file, path: path.to_owned() })
    }
}

/// The kernel answers EAGAIN where something was renamed while it followed a path with `..` in it.
fn retried(open: impl Fn() -> rustix::io::Result<OwnedFd>) -> rustix::io::Result<OwnedFd> {
    const TRIES: usize = 16;
    for _ in 1..TRIES {
        match open() {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            result => return result,
        }
    }
    open()
}

/// All of a file, which may grow meanwhile.
fn read(mut file: &File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(too_large(limit)) } else { Ok(bytes) }
}

fn too_large(limit: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("is larger than {} MiB", limit >> 20))
}

/// Paths of a library in the dynamic loader's cache, whose newer part is: a header of 48 bytes that begins with
/// "glibc-ld.so.cache1.1" and the count of entries, entries of 24 bytes (flags, key, value, ...) with offsets from the
/// header, then strings.
fn library_from_cache(root: &Root, name: &str) -> Vec<PathBuf> {
    root.open(Path::new("/etc/ld.so.cache"), MAX_CACHE)
        .and_then(|cache| read(&cache.file, MAX_CACHE))
        .map(|bytes| library_from_entries(&bytes, name))
        .unwrap_or_default()
}

fn library_from_entries(bytes: &[u8], name: &str) -> Vec<PathBuf> {
    const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
    let Some(start) = bytes.windows(MAGIC.len()).position(|window| window == MAGIC) else {
        return Vec::new();
    };
    let data = &bytes[start..];
    let word = |at: usize| -> Option<usize> {
        Some(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?) as usize)
    };
    let string = |at: usize| -> Option<&str> {
        let rest = data.get(at..)?;
        std::str::from_utf8(&rest[..rest.iter().position(|byte| *byte == 0)?]).ok()
    };
    let count = word(MAGIC.len()).unwrap_or(0).min(data.len() / 24);
    (0..count)
        .filter_map(|entry| {
            let at = 48 + entry * 24;
            let key = string(word(at + 4)?)?;
            let matches = key == name
                || key.strip_prefix(name).is_some_and(|rest| rest.starts_with(".so"))
                || key
                    .strip_prefix("lib")
                    .and_then(|k| k.strip_prefix(name))
                    .is_some_and(|r| r.starts_with(".so"));
            if matches { string(word(at + 8)?).map(PathBuf::from) } else { None }
        })
        .collect()
}

/// Where libraries are on systems without a cache (musl).
fn library_from_folders(name: &str) -> Vec<PathBuf> {
    let file = if name.contains(".so") { name.to_owned() } else { format!("{name}.so") };
    ["/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib"]
        .iter()
        .flat_map(|folder| [format!("{folder}/{file}"), format!("{folder}/lib{file}")])
        .map(PathBuf::from)
        .collect()
}

/// Where a function's code is in its file.
pub fn file_offset(target: &TargetFile, function: &str) -> Result<u64, String> {
    let path = &target.path;
    let bytes =
        read(&target.file, MAX_TARGET).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let file = object::File::parse(&*bytes)
        .map_err(|error| format!("{} is not a binary that can be probed: {error}", path.display()))?;
    let address = file
        .dynamic_symbols()
        .chain(file.symbols())
        .filter(|symbol| symbol.is_definition())
        .find(|symbol| {
            // "name@@VERSION" names the same function.
            symbol.name().is_ok_and(|name| name.split('@').next() == Some(function))
        })
        .map(|symbol| symbol.address())
        .ok_or_else(|| format!("{} has no function \"{function}\"", path.display()))?;
    // The file may claim anything, sums that no number holds included.
    file.segments()
        .find_map(|segment| {
            let inside = address.checked_sub(segment.address()).filter(|inside| *inside < segment.size())?;
            inside.checked_add(segment.file_range().0)
        })
        .ok_or_else(|| format!("function \"{function}\" of {} is in no loaded segment", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_library_is_found_by_name_and_has_malloc() {
        let path = find_file("libc", None).or_else(|_| find_file("libc.so.6", None)).unwrap();
        assert!(file_offset(&path, "malloc").unwrap() > 0);
        assert!(file_offset(&path, "no_such_function").unwrap_err().contains("no_such_function"));
    }

    #[test]
    fn a_relative_path_is_refused() {
        assert!(find_file("some/where", None).is_err());
        assert!(find_file("/no/such/file", None).is_err());
        assert!(find_file("libc", Some(u32::MAX)).is_err());
    }

    #[test]
    fn what_is_no_file_is_never_opened() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let sparse = folder.path().join("sparse");
        File::create(&sparse).unwrap().set_len(MAX_TARGET + 1).unwrap();
        let refuses = |path: &Path, why: &str| {
            let error = find_file(path.to_str().unwrap(), None).unwrap_err();
            assert!(error.contains(why) && error.contains(path.to_str().unwrap()), "{error}");
        };
        refuses(&pipe, "is not a file");
        refuses(Path::new("/dev/null"), "is not a file");
        refuses(folder.path(), "is not a file");
        refuses(&sparse, "1024 MiB");
        // Files of /proc are of size 0 and have contents.
        assert!(find_file("/proc/self/exe", None).is_ok());
    }

    #[test]
    fn links_in_the_root_of_a_process_stay_below_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("inside"), "inside").unwrap();
        std::os::unix::fs::symlink("/inside", path("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../../inside", path("upwards")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path("outside")).unwrap();
        let root = Root::Process(File::open(folder.path()).unwrap().into());
        for name in ["/inside", "/absolute", "/upwards", "/../inside"] {
            let found = root.open(Path::new(name), 6).unwrap();
            assert_eq!(read(&found.file, 6).unwrap(), b"inside", "{name}");
            assert_eq!(std::fs::read(found.reopen_path()).unwrap(), b"inside");
        }
        assert_eq!(root.open(Path::new("/outside"), 6).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(root.open(Path::new("/inside"), 5).is_err());
        assert!(read(&File::open(path("inside")).unwrap(), 5).is_err());
    }

    #[test]
    fn magic_links_in_the_root_of_a_process_are_not_followed() {
        let pid = std::process::id();
        let error = find_file(&format!("/proc/{pid}/exe"), Some(pid)).unwrap_err();
        assert!(error.contains("symbolic links"), "{error}");
        let own = std::env::current_exe().unwrap();
        assert!(find_file(own.to_str().unwrap(), Some(pid)).is_ok());
    }
}
