use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use bpfman_model::{FileIdentity, FileReader, ProcessScope};

use super::target_root::{TargetRoot, too_large};
use super::{libraries, mapped};
use crate::ProbeTargetError;

/// Real files are smaller, but a file can claim to be larger; far less of it is read.
pub(super) const MAX_TARGET: u64 = 1 << 30;
/// With thousands of libraries, the cache has some hundred kilobytes.
const MAX_CACHE: u64 = 2 << 20;
/// File systems of disks and memory (`linux/magic.h`): ext4, XFS, btrfs, tmpfs, ramfs, overlayfs, F2FS, squashfs,
/// EROFS, ZFS, bcachefs, VFAT, ISO 9660. Another machine or a process may serve other file systems.
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

/// File to probe, held open: it stays the same even if its name changes.
#[derive(Debug)]
pub struct TargetFile {
    file: File,
    path: PathBuf,
    root: TargetRoot,
    debug_file: OnceCell<Option<File>>,
    pub(super) runtime: OnceCell<Option<&'static str>>,
}

impl TargetFile {
    /// Returns a path that leads to this same file while the value lives.
    pub fn reopen_path(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }

    pub(super) fn new(file: File, path: PathBuf) -> Self {
        Self { file, path, root: TargetRoot::host(), debug_file: OnceCell::new(), runtime: OnceCell::new() }
    }

    pub(super) fn debug_file(&self, look: impl FnOnce() -> Option<File>) -> Option<&File> {
        self.debug_file.get_or_init(look).as_ref()
    }

    pub(super) fn seen_by(self, root: TargetRoot) -> Self {
        Self { root, ..self }
    }

    pub(super) fn root(&self) -> &TargetRoot {
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

    /// Returns whether the file system is local, and so always answers.
    pub(super) fn is_local(&self) -> bool {
        rustix::fs::fstatfs(&self.file).is_ok_and(|found| LOCAL.contains(&(found.f_type as u32)))
    }

    /// Returns the file's identity, which changes at each write; another file at the same path has another one.
    pub(super) fn identity(&self) -> Result<FileIdentity, ProbeTargetError> {
        let found = self
            .file
            .metadata()
            .map_err(|source| ProbeTargetError::File { path: self.path.display().to_string(), source })?;
        let modified = found.mtime().saturating_mul(1_000_000_000).saturating_add(found.mtime_nsec());
        Ok(FileIdentity { device: found.dev(), inode: found.ino(), size: found.size(), modified })
    }
}

/// Finds a target: an absolute path, or a library by name, as the container's process sees them, if one is given. A
/// library is the one that the named process has mapped, else the one that a loader would find.
///
/// Files are opened with the rights of `reader` (`None`: root): any user can make a process that sees the whole machine
/// as its own, and neither answer nor probe may depend on a file that only root may read.
pub fn find_file(
    target: &str,
    scope: &ProcessScope,
    reader: Option<&FileReader>,
) -> Result<TargetFile, ProbeTargetError> {
    let root = TargetRoot::of(scope.container_pid, reader)?;
    if target.starts_with('/') {
        return match root.open(Path::new(target), MAX_TARGET) {
            Ok(file) => Ok(file.seen_by(root)),
            Err(error) => Err(root.refusal(target, error)),
        };
    }
    if target.is_empty() || target.contains('/') {
        return Err(ProbeTargetError::RelativePath);
    }
    find_library(root, scope, target, reader)
}

fn find_library(
    root: TargetRoot,
    scope: &ProcessScope,
    target: &str,
    reader: Option<&FileReader>,
) -> Result<TargetFile, ProbeTargetError> {
    // The probed process knows best; that of its container knows which libraries exist.
    let pids: Vec<u32> = scope.pid.into_iter().chain(scope.container_pid).collect();
    for pid in &pids {
        if let Some(found) = find_mapped(*pid, target, reader)? {
            return Ok(found);
        }
    }
    let cached = root
        .open(Path::new("/etc/ld.so.cache"), MAX_CACHE)
        .and_then(|cache| read(&cache.file, MAX_CACHE))
        .map(|bytes| libraries::in_cache(&bytes, target))
        .unwrap_or_default();
    let open = |path: PathBuf| root.open(&path, MAX_TARGET).ok();
    let found = cached
        .into_iter()
        .find_map(open)
        .or_else(|| in_folders(&root, target).filter_map(open).find(is_binary));
    found.map(|file| file.seen_by(root)).ok_or(ProbeTargetError::NoLibrary { pids })
}

/// For a reader other than root: missing if the file at its path is unreadable; an error if that is another file.
fn find_mapped(
    pid: u32,
    target: &str,
    reader: Option<&FileReader>,
) -> Result<Option<TargetFile>, ProbeTargetError> {
    let Some(file) = mapped::library(pid, target, MAX_TARGET) else { return Ok(None) };
    let Ok(root) = TargetRoot::of(Some(pid), reader) else { return Ok(None) };
    if root.is_of_root() {
        return Ok(Some(file.seen_by(root)));
    }
    let Ok(again) = root.open(file.path(), MAX_TARGET) else { return Ok(None) };
    match again.identity()? == file.identity()? {
        true => Ok(Some(again.seen_by(root))),
        false => Err(ProbeTargetError::ReplacedLibrary { pid, path: file.path().to_owned() }),
    }
}

/// Returns whether the file is ELF: `libc.so` beside `libc.so.6` may be a linker script.
fn is_binary(file: &TargetFile) -> bool {
    let mut magic = [0; 4];
    file.file.read_exact_at(&mut magic, 0).is_ok() && magic == *b"\x7fELF"
}

/// The likeliest file of each folder comes first.
fn in_folders(root: &TargetRoot, library: &str) -> impl Iterator<Item = PathBuf> {
    libraries::folders().flat_map(move |folder| {
        let mut names = root.names(&folder, |name| libraries::is_named(name, library));
        names.sort_by_key(|name| libraries::distance(name, library));
        names.into_iter().map(move |name| folder.join(name))
    })
}

/// Reads a whole file of at most `limit` bytes, which may grow meanwhile.
fn read(mut file: &File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(too_large(limit)) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::elf_symbols::file_offset;
    use super::*;

    fn find(target: &str) -> Result<TargetFile, ProbeTargetError> {
        find_file(target, &ProcessScope::default(), None)
    }

    fn find_in(target: &str, container_pid: u32) -> Result<TargetFile, ProbeTargetError> {
        find_file(
            target,
            &ProcessScope { container_pid: Some(container_pid), ..ProcessScope::default() },
            None,
        )
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
    fn ambiguous_function_of_a_file_is_refused_with_the_count() {
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
    fn function_that_is_chosen_at_run_time_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let source = "int old(void) { return 1; } int fast(void) { return 2; }
                      static void *choose(void) { return fast; }
                      int new(void) __attribute__((ifunc(\"choose\")));
                      __asm__(\".symver old,copied@V1\"); __asm__(\".symver new,copied@@V2\");";
        let script = folder.path().join("versions");
        std::fs::write(&script, "V1 { global: old; new; fast; }; V2 { } V1;").unwrap();
        let script = format!("-Wl,--version-script={}", script.display());
        let file = library(folder.path(), &[source], &[&script]);
        for function in ["copied", "new"] {
            let error = file_offset(&file, function).unwrap_err().to_string();
            assert!(error.contains(&format!("behind \"{function}\", of which a process chooses")), "{error}");
        }
        assert!(file_offset(&file, "fast").unwrap() > 0);
    }

    #[test]
    fn libraries_without_a_cache_are_found_in_all_distro_folders() {
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
            let root = TargetRoot::at(File::open(container.path()).unwrap(), None);
            let found = find_library(root, &ProcessScope::default(), target, None).unwrap();
            assert_eq!(
                std::fs::read_to_string(found.reopen_path()).unwrap(),
                format!("\x7fELF {file}"),
                "{target}"
            );
        }
    }

    #[test]
    fn library_that_was_replaced_is_the_one_that_the_process_runs() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), mode).unwrap();
        let old = library(folder.path(), &["int preloaded(void) { return 1; }"], &[]);
        let path = old.path().with_file_name("libpreloaded.so");
        std::fs::rename(old.path(), &path).unwrap();
        let mut process = std::process::Command::new("cat")
            .env("LD_PRELOAD", &path)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // It has mapped its libraries before it echoes.
        io::Write::write_all(process.stdin.as_mut().unwrap(), b"x").unwrap();
        process.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let scope = ProcessScope { pid: Some(process.id()), ..ProcessScope::default() };
        let user = FileReader { uid: 4711, gid: 4711, ..FileReader::default() };
        let find = |reader| find_file("libpreloaded", &scope, reader);
        let identity = old.identity().unwrap();
        let [by_root, by_user] = [None, Some(&user)].map(|reader| find(reader).unwrap().identity().unwrap());
        assert_eq!([&by_root, &by_user], [&identity, &identity]);
        let new = library(folder.path(), &["int preloaded(void) { return 2; }"], &[]);
        std::fs::rename(new.path(), &path).unwrap();
        assert_eq!(find(None).unwrap().identity().unwrap(), identity, "not the new one");
        let refused = find(Some(&user)).unwrap_err().to_string();
        assert!(
            refused.contains("runs the library that was at") && refused.contains("libpreloaded.so"),
            "{refused}"
        );
        drop(process.stdin.take());
        process.wait().unwrap();
    }

    #[test]
    fn a_relative_path_is_refused() {
        assert!(find("some/where").is_err());
        assert!(find("/no/such/file").is_err());
        assert!(find_in("libc", u32::MAX).is_err());
    }

    #[test]
    fn special_files_are_never_opened() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
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
    fn magic_links_in_the_root_of_a_process_are_not_followed() {
        let pid = std::process::id();
        let error = find_in(&format!("/proc/{pid}/exe"), pid).unwrap_err().to_string();
        assert!(error.contains("symbolic links"), "{error}");
        let own = std::env::current_exe().unwrap();
        assert!(find_in(own.to_str().unwrap(), pid).is_ok());
    }
}
