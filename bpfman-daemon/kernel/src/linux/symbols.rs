//! Files that user-space probes name.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use bpfmand_core::{FileIdentity, ProcessScope};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags};

use super::{access, libraries, mapped, processes};
use crate::ProbeTargetError;

/// Limit of the size of a target in bytes. Real files are smaller, but a file can claim to be larger. Far less of it is
/// read.
pub(super) const MAX_TARGET: u64 = 1 << 30;
/// Limit of the size of the loader's cache. On a machine with thousands of libraries it has some hundred kilobytes.
const MAX_CACHE: u64 = 2 << 20;
/// Most names that are read in one folder of libraries.
const MAX_NAMES: usize = 100_000;
/// File systems of disks and of memory, by the numbers of `linux/magic.h`: ext4, XFS, btrfs, tmpfs, ramfs, overlayfs,
/// F2FS, squashfs, EROFS, ZFS, bcachefs, VFAT, ISO 9660. Other file systems may belong to another machine or to a
/// process.
const LOCAL: [u32; 13] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0x8584_58f6,
    0x794c_7630,
    0xf2f5_2010,
    0x7371_7368,
    0xe0f5_e1e2,
    0x2fc1_2fc1,
    0xca45_1a4e,
    0x4d44,
    0x9660,
];

/// File to probe. It stays the same file even if its name changes.
#[derive(Debug)]
pub struct TargetFile {
    file: File,
    /// Path of the file, as the process sees it.
    path: PathBuf,
    /// Folder that is `/` in this path.
    root: Root,
    /// File of debug information, set once it was searched for.
    debug_file: OnceCell<Option<File>>,
    /// Name of its runtime that moves stacks, once it was looked for.
    pub(super) runtime: OnceCell<Option<&'static str>>,
}

impl TargetFile {
    /// Returns a path by which the kernel finds this same file, while the value lives.
    pub fn reopen_path(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }

    pub(super) fn new(file: File, path: PathBuf) -> Self {
        Self { file, path, root: Root::Host, debug_file: OnceCell::new(), runtime: OnceCell::new() }
    }

    /// Returns its file of debug information, which is searched for once.
    pub(super) fn debug_file(&self, look: impl FnOnce() -> Option<File>) -> Option<&File> {
        self.debug_file.get_or_init(look).as_ref()
    }

    /// Returns the file as seen below this root.
    pub(super) fn seen_by(self, root: Root) -> Self {
        Self { root, ..self }
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn into_file(self) -> File {
        self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether its file system is on a disk or in memory of this machine, which always answer.
    pub(super) fn is_local(&self) -> bool {
        rustix::fs::fstatfs(&self.file).is_ok_and(|found| LOCAL.contains(&(found.f_type as u32)))
    }

    /// Returns the identity that tells it from another file at its path, and from itself after a write.
    ///
    /// # Errors
    /// The file system does not report it.
    pub(super) fn identity(&self) -> Result<FileIdentity, ProbeTargetError> {
        let found = self
            .file
            .metadata()
            .map_err(|source| ProbeTargetError::File { path: self.path.display().to_string(), source })?;
        let modified = found.mtime().saturating_mul(1_000_000_000).saturating_add(found.mtime_nsec());
        Ok(FileIdentity { device: found.dev(), inode: found.ino(), size: found.size(), modified })
    }
}

/// Finds the file of a target: an absolute path, or a library by name. Paths are as the process of the container sees
/// them, if one is given. A library is the one that the given process has mapped, otherwise the one that a loader would
/// take there.
pub fn find_file(target: &str, scope: &ProcessScope) -> Result<TargetFile, ProbeTargetError> {
    let root = match scope.container_pid {
        None => Root::Host,
        Some(pid) => Root::process(pid)?,
    };
    if target.starts_with('/') {
        let found = root.open(Path::new(target), MAX_TARGET);
        return found
            .map(|file| file.seen_by(root))
            .map_err(|source| ProbeTargetError::File { path: target.to_owned(), source });
    }
    if target.is_empty() || target.contains('/') {
        return Err(ProbeTargetError::RelativePath);
    }
    find_library(&root, scope, target).map(|file| match file.root {
        Root::Host => file.seen_by(root),
        Root::Process(_) => file,
    })
}

fn find_library(root: &Root, scope: &ProcessScope, target: &str) -> Result<TargetFile, ProbeTargetError> {
    // The process to be probed is the best source; the process of its container shows what exists there.
    let pids: Vec<u32> = scope.pid.into_iter().chain(scope.container_pid).collect();
    let mapped = |pid: &u32| {
        let file = mapped::library(*pid, target, MAX_TARGET)?;
        // A process of the host uses the file system of the host, with the same rights.
        let root = if access::is_contained(*pid) { Root::process(*pid).ok() } else { None };
        Some(file.seen_by(root.unwrap_or(Root::Host)))
    };
    if let Some(found) = pids.iter().find_map(mapped) {
        return Ok(found);
    }
    let cached = root
        .open(Path::new("/etc/ld.so.cache"), MAX_CACHE)
        .and_then(|cache| read(&cache.file, MAX_CACHE))
        .map(|bytes| libraries::in_cache(&bytes, target))
        .unwrap_or_default();
    let open = |path: PathBuf| root.open(&path, MAX_TARGET).ok();
    cached
        .into_iter()
        .find_map(open)
        .or_else(|| in_folders(root, target).filter_map(open).find(is_binary))
        .ok_or(ProbeTargetError::NoLibrary { pids })
}

/// Returns whether a file is a binary. Libraries have linker scripts beside them with shorter names: `libc.so` beside
/// `libc.so.6`.
fn is_binary(file: &TargetFile) -> bool {
    let mut magic = [0; 4];
    file.file.read_exact_at(&mut magic, 0).is_ok() && magic == *b"\x7fELF"
}

/// Returns files of the library in the folders of libraries, the most likely first in each folder.
fn in_folders(root: &Root, library: &str) -> impl Iterator<Item = PathBuf> {
    libraries::folders().flat_map(move |folder| {
        let mut names = root.names(&folder, |name| libraries::is_named(name, library));
        names.sort_by_key(|name| libraries::distance(name, library));
        names.into_iter().map(move |name| folder.join(name))
    })
}

/// Meaning of `/` in a path.
#[derive(Debug)]
pub(super) enum Root {
    Host,
    /// Root folder of a process in a container. The owner of its files also made its links, which must not lead out of
    /// it.
    Process(OwnedFd),
}

impl Root {
    /// Opens the root folder that a process sees.
    fn process(pid: u32) -> Result<Self, ProbeTargetError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = processes::root().join(pid.to_string()).join("root");
        rustix::fs::open(path, flags, Mode::empty())
            .map(Self::Process)
            .map_err(|_| ProbeTargetError::NoProcess(pid))
    }

    /// Opens only a regular file of at most so many bytes. Other files are not even opened to inspect them: opening a
    /// device may have effects, and opening a pipe may never return.
    pub(super) fn open(&self, path: &Path, limit: u64) -> io::Result<TargetFile> {
        let place = self.place(path, OFlags::PATH | OFlags::CLOEXEC)?;
        Ok(TargetFile::new(reopen(&place, limit)?, path.to_owned()))
    }

    fn place(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        match self {
            // Links of the host belong to root, and links in /proc name files too.
            Self::Host => rustix::fs::open(path, flags, Mode::empty()),
            Self::Process(root) => {
                let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                retried(|| rustix::fs::openat2(root, path, flags, Mode::empty(), inside))
            }
        }
    }

    /// Returns the wanted names in a folder. Empty if there is no such folder.
    fn names(&self, folder: &Path, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(entries) = self.place(folder, flags).and_then(Dir::new) else { return Vec::new() };
        entries
            .take(MAX_NAMES)
            .map_while(Result::ok)
            .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
            .filter(|name| is_wanted(name))
            .collect()
    }
}

/// Opens a file that was only opened as a path, if it is a regular file of at most so many bytes.
pub(super) fn reopen(place: &OwnedFd, limit: u64) -> io::Result<File> {
    let found = rustix::fs::fstat(place)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a file"));
    }
    if u64::try_from(found.st_size).is_ok_and(|size| size > limit) {
        return Err(too_large(limit));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(format!("/proc/self/fd/{}", place.as_raw_fd()), flags, Mode::empty())?.into())
}

/// Retries an open. The kernel answers EAGAIN if something was renamed while it followed a path with `..` in it.
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

/// Reads a whole file, which may grow meanwhile.
fn read(mut file: &File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(too_large(limit)) } else { Ok(bytes) }
}

fn too_large(limit: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("is larger than {} MiB", limit >> 20))
}

#[cfg(test)]
mod tests {
    use super::super::elf_symbols::file_offset;
    use super::*;

    fn find(target: &str) -> Result<TargetFile, ProbeTargetError> {
        find_file(target, &ProcessScope::default())
    }

    fn find_in(target: &str, container_pid: u32) -> Result<TargetFile, ProbeTargetError> {
        find_file(target, &ProcessScope { container_pid: Some(container_pid), ..ProcessScope::default() })
    }

    #[test]
    fn the_c_library_is_found_by_name_and_has_malloc() {
        let path = find("libc").or_else(|_| find("libc.so.6")).unwrap();
        assert!(file_offset(&path, "malloc").unwrap() > 0);
        assert!(file_offset(&path, "no_such_function").unwrap_err().to_string().contains("no_such_function"));
    }

    fn library(folder: &std::path::Path, sources: &[&str], options: &[&str]) -> TargetFile {
        let out = folder.join("library.so");
        let mut compiler = std::process::Command::new("cc");
        compiler.args(["-O0", "-shared", "-fPIC", "-o"]).arg(&out).args(options);
        for (number, source) in sources.iter().enumerate() {
            let file = folder.join(format!("{number}.c"));
            std::fs::write(&file, source).unwrap();
            compiler.arg(file);
        }
        assert!(compiler.status().unwrap().success());
        find(out.to_str().unwrap()).unwrap()
    }

    #[test]
    fn a_function_that_a_file_has_several_times_is_refused_with_their_number() {
        let folder = tempfile::tempdir().unwrap();
        let one = "static int twice(void) { return 1; } int first(void) { return twice(); }";
        let other = "static int twice(void) { return 2; } int second(void) { return twice(); }";
        let file = library(folder.path(), &[one, other], &[]);
        let error = file_offset(&file, "twice").unwrap_err().to_string();
        assert!(error.contains("has 2 functions \"twice\""), "{error}");
        assert!(file_offset(&file, "first").unwrap() > 0);
    }

    #[test]
    fn of_versions_of_a_function_the_one_that_linkers_take_is_meant() {
        let folder = tempfile::tempdir().unwrap();
        let source = "int old(void) { return 1; } int new(void) { return 2; }
                      __asm__(\".symver old,versioned@V1\"); __asm__(\".symver new,versioned@@V2\");";
        let script = folder.path().join("versions");
        std::fs::write(&script, "V1 { global: old; new; }; V2 { } V1;").unwrap();
        let script = format!("-Wl,--version-script={}", script.display());
        let file = library(folder.path(), &[source], &[&script]);
        let address = |function| file_offset(&file, function).unwrap();
        assert_eq!(address("versioned"), address("new"));
        assert_ne!(address("versioned"), address("old"));
    }

    #[test]
    fn libraries_without_a_cache_are_found_in_the_folders_of_every_distribution() {
        for (folder, file, target) in [
            ("usr/lib/ARCH-linux-gnu", "libc.so.6", "libc"),
            ("lib/ARCH-linux-gnu", "libssl.so.3", "ssl"),
            ("usr/lib64", "libssl.so.1.1", "libssl.so"),
            ("lib", "ld-musl-ARCH.so.1", "libc"),
            ("usr/local/lib", "libown.so", "own"),
        ] {
            let container = tempfile::tempdir().unwrap();
            let (folder, file) = (libraries::of_this_machine(folder), libraries::of_this_machine(file));
            let folder = container.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            for name in ["libcrypt.so.1", "libsslx.so.3", "libc.so.6.conf", "libownership.so", &file] {
                std::fs::write(folder.join(name), format!("\x7fELF {name}")).unwrap();
            }
            if target == "libc" {
                std::fs::write(folder.join("libc.so"), "GROUP ( libc.so.6 )").unwrap();
            }
            let root = Root::Process(File::open(container.path()).unwrap().into());
            let found = find_library(&root, &ProcessScope::default(), target).unwrap();
            assert_eq!(
                std::fs::read_to_string(found.reopen_path()).unwrap(),
                format!("\x7fELF {file}"),
                "{target}"
            );
        }
    }

    #[test]
    fn a_relative_path_is_refused() {
        assert!(find("some/where").is_err());
        assert!(find("/no/such/file").is_err());
        assert!(find_in("libc", u32::MAX).is_err());
    }

    #[test]
    fn what_is_no_file_is_never_opened() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let sparse = folder.path().join("sparse");
        File::create(&sparse).unwrap().set_len(MAX_TARGET + 1).unwrap();
        let refuses = |path: &Path, why: &str| {
            let error = find(path.to_str().unwrap()).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains(path.to_str().unwrap()), "{error}");
        };
        refuses(&pipe, "is not a file");
        refuses(Path::new("/dev/null"), "is not a file");
        refuses(folder.path(), "is not a file");
        refuses(&sparse, "1024 MiB");
        // Files of /proc have contents, but report size 0.
        assert!(find("/proc/self/exe").is_ok());
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
        let error = find_in(&format!("/proc/{pid}/exe"), pid).unwrap_err().to_string();
        assert!(error.contains("symbolic links"), "{error}");
        let own = std::env::current_exe().unwrap();
        assert!(find_in(own.to_str().unwrap(), pid).is_ok());
    }
}
