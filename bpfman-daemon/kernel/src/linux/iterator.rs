use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use super::attr::{self, Command};
use super::sys;
use crate::KernelError;

const BUFFER_BYTES: usize = 64 << 10;

pub fn attach(program: &OwnedFd) -> Result<OwnedFd, KernelError> {
    let mut request = attr::LinkCreate {
        prog_fd: program.as_raw_fd(),
        attach_type: bpfman_model::uapi::attach_type::TRACE_ITER,
        ..Default::default()
    };
    sys::bpf_fd(Command::LinkCreate, &mut request).map_err(|source| match source.raw_os_error() {
        Some(libc::EBADF | libc::EINVAL) => {
            let why =
                "the kernel needs to know which objects (a map, a cgroup), which this daemon cannot pass on";
            let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, format!("{why}: {source}"));
            KernelError::call("attach", "the iterator to what it was loaded for", source)
        }
        _ => KernelError::call("attach", "the iterator to what it was loaded for", source),
    })
}

/// Delay before a requested rerun, and the maximum number of reruns in a row.
const PAUSE: Duration = Duration::from_millis(1);
const MAX_RERUNS: usize = 1000;

/// Runs an iterator and passes on its output. The link is closed first, so that it can be detached meanwhile.
pub fn read(link: OwnedFd, each: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), KernelError> {
    let fail = |source| KernelError::call("read", "what an iterator writes", source);
    let mut request = attr::IterCreate { link_fd: link.as_raw_fd(), ..Default::default() };
    let reader = sys::bpf_fd(Command::IterCreate, &mut request).map_err(fail)?;
    drop(link);
    let mut bytes = vec![0_u8; BUFFER_BYTES];
    let mut again = 0;
    while each(&[]) {
        match rustix::io::read(&reader, &mut bytes) {
            Ok(0) => break,
            Ok(count) => {
                again = 0;
                if !each(&bytes[..count]) {
                    break;
                }
            }
            // The program requested another run for the same object, or a signal arrived.
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) if again < MAX_RERUNS => {
                again += 1;
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(fail(error.into())),
        }
    }
    Ok(())
}
