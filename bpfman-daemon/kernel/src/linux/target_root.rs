use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use bpfman_model::FileReader;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};

use super::symbols::TargetFile;
use super::{access, processes, tasks};
use crate::ProbeTargetError;

const MAX_NAMES: usize = 100_000;

/// Folder that `/` denotes, and the rights with which files below are opened.
#[derive(Debug)]
pub struct TargetRoot {
    /// Root folder of a process, whose links must not lead out of it; `None` for the machine's.
    folder: Option<OwnedFd>,
    reader: Option<FileReader>,
}

impl TargetRoot {
    pub const fn host() -> Self {
        Self { folder: None, reader: None }
    }

    pub fn of(process: Option<u32>, reader: Option<&FileReader>) -> Result<Self, ProbeTargetError> {
        let reader = reader.filter(|reader| reader.uid != 0);
        let Some(pid) = process else { return Ok(Self { folder: None, reader: reader.cloned() }) };
        let gone = |_| ProbeTargetError::NoProcess(pid);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open =
            |folder: BorrowedFd<'_>, path: &Path| rustix::fs::openat(folder, path, flags, Mode::empty());
        // A held folder never belongs to a later process with the pid.
        let process = open(rustix::fs::CWD, &processes::root().join(pid.to_string())).map_err(gone)?;
        let before = mount_namespace(process.as_fd());
        let folder = open(process.as_fd(), Path::new("root")).map_err(gone)?;
        // A process in a container's cgroup that entered the first mount namespace sees the machine's files.
        let has_own_files = || {
            // If the first process is hidden, compare with this process, which then sees the machine's files.
            let of = |name| open(rustix::fs::CWD, &processes::root().join(name)).ok();
            let of = |name| of(name).and_then(|folder| mount_namespace(folder.as_fd()));
            let first = of("1").or_else(|| of("self"));
            before.is_some()
                && first.is_some()
                && before != first
                && before == mount_namespace(process.as_fd())
        };
        let is_root =
            |reader: &FileReader| reader.is_root_in_containers && is_contained(&process) && has_own_files();
        Ok(Self { folder: Some(folder), reader: reader.filter(|reader| !is_root(reader)).cloned() })
    }

    #[cfg(test)]
    pub fn at(folder: File, reader: Option<FileReader>) -> Self {
        Self { folder: Some(folder.into()), reader }
    }

    pub const fn is_of_root(&self) -> bool {
        self.reader.is_none()
    }

    pub const fn is_host(&self) -> bool {
        self.folder.is_none()
    }

    pub fn refusal(&self, path: &str, source: io::Error) -> ProbeTargetError {
        let path = path.to_owned();
        match &self.reader {
            Some(reader) if source.kind() == io::ErrorKind::PermissionDenied => {
                ProbeTargetError::Unreadable { uid: reader.uid, path }
            }
            _ => ProbeTargetError::File { path, source },
        }
    }

    /// Opens regular files only: opening a device may have effects, and opening a pipe may block forever.
    pub fn open(&self, path: &Path, limit: u64) -> io::Result<TargetFile> {
        let file = self.as_reader(|| reopen(&self.place(path, OFlags::PATH | OFlags::CLOEXEC)?, limit))?;
        Ok(TargetFile::new(file, path.to_owned()))
    }

    pub fn names(&self, folder: &Path, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = self.as_reader(|| Ok(self.place(folder, flags)?));
        let Some(entries) = opened.ok().and_then(|folder| Dir::new(folder).ok()) else { return Vec::new() };
        entries
            .take(MAX_NAMES)
            .map_while(Result::ok)
            .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
            .filter(|name| is_wanted(name))
            .collect()
    }

    fn as_reader<T: Send>(&self, open: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        match &self.reader {
            None => open(),
            Some(reader) => access::as_caller(reader, open),
        }
    }

    fn place(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let open = |folder, how| retried(|| rustix::fs::openat2(folder, path, flags, Mode::empty(), how));
        match &self.folder {
            Some(folder) => open(folder.as_fd(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS),
            // Magic links in /proc are followed with this process's rights to other processes: for root alone.
            None if self.reader.is_some() => open(rustix::fs::CWD, ResolveFlags::NO_MAGICLINKS),
            None => rustix::fs::open(path, flags, Mode::empty()),
        }
    }
}

fn mount_namespace(process: BorrowedFd<'_>) -> Option<u64> {
    rustix::fs::statat(process, "ns/mnt", AtFlags::empty()).ok().map(|found| found.st_ino)
}

fn is_contained(process: &OwnedFd) -> bool {
    let mut lines = String::new();
    let file = rustix::fs::openat(process, "cgroup", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let read = file.is_ok_and(|file| File::from(file).read_to_string(&mut lines).is_ok());
    read && tasks::is_contained(&lines)
}

pub fn reopen(place: &OwnedFd, limit: u64) -> io::Result<File> {
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

pub fn too_large(limit: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("is larger than {} MiB", limit >> 20))
}

/// The kernel answers EAGAIN if something was renamed while it followed a path with `..`.
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::super::symbols::find_file;
    use super::*;

    #[test]
    fn links_in_the_root_of_a_process_stay_below_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("inside"), "inside").unwrap();
        std::os::unix::fs::symlink("/inside", path("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../../inside", path("upwards")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path("outside")).unwrap();
        let root = TargetRoot::at(File::open(folder.path()).unwrap(), None);
        for name in ["/inside", "/absolute", "/upwards", "/../inside"] {
            let found = root.open(Path::new(name), 6).unwrap();
            assert_eq!(fs::read(found.reopen_path()).unwrap(), b"inside", "{name}");
        }
        assert_eq!(root.open(Path::new("/outside"), 6).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(root.open(Path::new("/inside"), 5).is_err());
    }

    #[test]
    fn files_below_a_root_are_opened_with_the_readers_rights() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = |name: &str| folder.path().join(name);
        let set =
            |name: &str, mode| fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
        fs::create_dir(path("hidden")).unwrap();
        for (name, mode) in [("open", 0o644), ("roots", 0o600), ("groups", 0o640), ("hidden/file", 0o644)] {
            fs::write(path(name), name).unwrap();
            set(name, mode);
        }
        set("hidden", 0o700);
        chown(path("groups"), Some(0), Some(4242)).unwrap();
        let reader = |uid, groups: &[u32]| {
            let groups = groups.to_vec();
            FileReader { uid, gid: uid, groups, ..FileReader::default() }
        };
        let opened = |reader: Option<FileReader>| {
            let root = TargetRoot::at(File::open(folder.path()).unwrap(), reader);
            let names = ["/open", "/roots", "/groups", "/hidden/file", "/hidden/absent"];
            names.map(|name| root.open(Path::new(name), 100).map(drop).map_err(|error| error.kind()))
        };
        let no = Err(io::ErrorKind::PermissionDenied);
        assert_eq!(opened(Some(reader(4711, &[]))), [Ok(()), no, no, no, no]);
        assert_eq!(opened(Some(reader(4711, &[4242]))), [Ok(()), no, Ok(()), no, no]);
        assert_eq!(opened(None), [Ok(()), Ok(()), Ok(()), Ok(()), Err(io::ErrorKind::NotFound)]);
        assert!(fs::read(path("roots")).is_ok());
        let root = TargetRoot::at(File::open(folder.path()).unwrap(), Some(reader(4711, &[])));
        assert_eq!(root.names(Path::new("/hidden"), |_| true), [""; 0]);
    }

    #[test]
    fn links_of_other_processes_are_followed_for_root_alone() {
        let own = std::env::current_exe().unwrap();
        let own = own.to_str().unwrap();
        let reader = FileReader { uid: 4711, gid: 4711, ..FileReader::default() };
        let find = |target: &str, reader| find_file(target, &Default::default(), reader).map(drop);
        assert!(find("/proc/self/exe", None).is_ok());
        let refused = find("/proc/self/exe", Some(&reader)).unwrap_err().to_string();
        assert!(refused.contains("symbolic links"), "{refused}");
        // The reader may, or may not, enter the folder of this build: compare with the kernel's answer.
        let may = access::first_hidden(&reader, &[own.into()], true).unwrap().is_none();
        assert_eq!(find(own, Some(&reader)).is_ok(), may);
    }
}
