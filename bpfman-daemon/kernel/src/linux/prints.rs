//! Output of programs by `bpf_printk` (Linux 5.9 and later). Readers of the shared `trace_pipe` take output from each
//! other; a tracefs instance with the event `bpf_trace/bpf_trace_printk` gets a copy.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::perf;
use crate::{KernelError, PrintFeed};

const PREFIX: &str = "bpfman-prints-";
const EVENT: &str = "events/bpf_trace/bpf_trace_printk/enable";
const BUFFER_KIB: &str = "256";
const BUFFER_BYTES: usize = 64 << 10;

static MADE: AtomicU32 = AtomicU32::new(0);

/// Tracefs instance with one event, removed on drop.
pub struct PrintInstance {
    folder: PathBuf,
    pipe: Option<File>,
    begun: Vec<u8>,
}

impl PrintInstance {
    pub fn new() -> Result<Self, KernelError> {
        let instances = instances().ok_or_else(|| {
            let source = io::Error::new(io::ErrorKind::NotFound, "no tracefs with instances is mounted");
            KernelError::call("follow", "what programs print", source)
        })?;
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = instances.join(format!("{PREFIX}{}-{number}", std::process::id()));
        let fail = |action, path: &Path, source: io::Error| {
            KernelError::call(action, format!("{}, to follow what programs print", path.display()), source)
        };
        fs::create_dir(&folder).map_err(|source| fail("make", &folder, source))?;
        // From here on the value removes the folder.
        let mut made = Self { folder, pipe: None, begun: Vec::new() };
        let path = made.folder.join("trace_pipe");
        let pipe = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
        made.pipe = Some(pipe.map_err(|source| fail("open", &path, source))?);
        for (file, value) in [("buffer_size_kb", BUFFER_KIB), (EVENT, "1")] {
            let path = made.folder.join(file);
            fs::write(&path, value).map_err(|source| fail("write", &path, source))?;
        }
        Ok(made)
    }
}

impl PrintFeed for PrintInstance {
    fn next(&mut self, timeout: Duration) -> Result<Vec<u8>, KernelError> {
        let fail = |source| KernelError::call("read", "what programs print", source);
        let Some(pipe) = &mut self.pipe else { return Ok(Vec::new()) };
        let timeout = Timespec::try_from(timeout).map_err(|_far| fail(io::ErrorKind::InvalidInput.into()))?;
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return Err(fail(error.into())),
        }
        let mut bytes = vec![0; BUFFER_BYTES];
        match pipe.read(&mut bytes) {
            Ok(count) => self.begun.extend_from_slice(&bytes[..count]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(fail(error)),
        }
        let whole = self.begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let rest = self.begun.split_off(whole);
        Ok(std::mem::replace(&mut self.begun, rest))
    }
}

impl Drop for PrintInstance {
    fn drop(&mut self) {
        // The kernel refuses to remove an instance that has a reader.
        self.pipe = None;
        if let Err(error) = fs::remove_dir(&self.folder) {
            tracing::warn!(%error, "{} stays until the next start", self.folder.display());
        }
    }
}

/// Removes the instances of killed daemons. The kernel keeps those that have a reader.
pub fn remove_left_behind() {
    let Some(instances) = instances() else { return };
    for entry in fs::read_dir(instances).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let _in_use = fs::remove_dir(entry.path());
        }
    }
}

fn instances() -> Option<PathBuf> {
    let folder = perf::mounted_events()?.with_file_name("instances");
    folder.is_dir().then_some(folder)
}
