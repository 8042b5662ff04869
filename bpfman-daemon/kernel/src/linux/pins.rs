//! The daemon's own bpffs: pins and folders below one root.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use super::attr::{self, Command};
use super::sys;
use crate::KernelError;

const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// A mounted bpffs.
#[derive(Debug)]
pub struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Uses the bpffs at `root`, mounting one if there is none.
    pub fn open(root: &Path) -> Result<Self, KernelError> {
        let fail = |action, source: io::Error| KernelError::call(action, root.display().to_string(), source);
        std::fs::create_dir_all(root).map_err(|source| fail("create folder", source))?;
        let found = rustix::fs::statfs(root).map_err(|e| fail("look at", e.into()))?;
        if found.f_type as u64 != BPF_FS_MAGIC {
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RELATIME;
            rustix::mount::mount("bpffs", root, "bpf", flags, None)
                .map_err(|e| fail("mount a bpffs on", e.into()))?;
        }
        Ok(Self { root: root.to_owned() })
    }

    fn path(&self, relative: &Path) -> PathBuf {
        self.root.join(relative)
    }

    fn fail(&self, action: &'static str, path: &Path, source: io::Error) -> KernelError {
        KernelError::call(action, self.path(path).display().to_string(), source)
    }

    pub fn make_folder(&self, path: &Path) -> Result<(), KernelError> {
        std::fs::create_dir_all(self.path(path)).map_err(|source| self.fail("create folder", path, source))
    }

    pub fn remove_folder(&self, path: &Path) -> Result<(), KernelError> {
        absent_is_fine(std::fs::remove_dir(self.path(path)))
            .map_err(|source| self.fail("remove folder", path, source))
    }

    pub fn list(&self, path: &Path) -> Result<Vec<String>, KernelError> {
        let read = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in std::fs::read_dir(self.path(path))? {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
            names.sort();
            Ok(names)
        };
        match read() {
            Ok(names) => Ok(names),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(Vec::new())
            }
            Err(source) => Err(self.fail("list", path, source)),
        }
    }

    pub fn pin(&self, fd: &OwnedFd, path: &Path) -> Result<(), KernelError> {
        let name = self.c_path(path)?;
        let mut request =
            attr::Object { pathname: name.as_ptr() as u64, bpf_fd: fd.as_raw_fd(), ..Default::default() };
        sys::bpf(Command::ObjPin, &mut request).map(drop).map_err(|source| self.fail("pin", path, source))
    }

    pub fn get(&self, path: &Path) -> Result<Option<OwnedFd>, KernelError> {
        let name = self.c_path(path)?;
        let mut request = attr::Object { pathname: name.as_ptr() as u64, ..Default::default() };
        match sys::bpf_fd(Command::ObjGet, &mut request) {
            Ok(fd) => Ok(Some(fd)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(source) => Err(self.fail("open pin", path, source)),
        }
    }

    pub fn unpin(&self, path: &Path) -> Result<(), KernelError> {
        absent_is_fine(std::fs::remove_file(self.path(path)))
            .map_err(|source| self.fail("remove pin", path, source))
    }

    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), KernelError> {
        rustix::fs::renameat_with(
            rustix::fs::CWD,
            self.path(from),
            rustix::fs::CWD,
            self.path(to),
            rustix::fs::RenameFlags::NOREPLACE,
        )
        .map_err(|error| self.fail("move pin to", to, error.into()))
    }

    fn c_path(&self, path: &Path) -> Result<CString, KernelError> {
        CString::new(self.path(path).into_os_string().into_encoded_bytes())
            .map_err(|error| self.fail("use path", path, error.into()))
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
