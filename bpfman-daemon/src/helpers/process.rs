//! Main function of a worker process.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bpfmand_cage::{HelperCage, HelperRights, confine_helper};
use bpfmand_image::{HelperRole, serve_helper};
use bpfmand_kernel::linux::SealedMapping;
use bpfmand_reader::ReaderTypes;

use super::{Held, starter};

/// Time that a process waits for its first request. A process started ahead of need exits after it.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let Some((what, held)) = arguments.split_first() else { bail!("it is not said what to do") };
    let rights = match what.as_str() {
        "starter" => HelperRights::Starter,
        "fetcher" => HelperRights::Fetcher,
        "verifier" => HelperRights::Verifier,
        other => bail!("\"{other}\" is no process of the daemon's"),
    };
    work(rights, Held::parse(held)?, None)
}

/// Drops all rights that the process does not need, and serves until the peer on standard input closes. A reader
/// without an index of the kernel's types reads them itself.
pub fn work(rights: HelperRights, held: Held, types: Option<SealedMapping>) -> anyhow::Result<()> {
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(std::env::var_os);
    let cage = HelperCage {
        rights,
        seccomp: held.seccomp,
        landlock: held.landlock,
        reads: named.map(PathBuf::from).collect(),
    };
    let input = std::io::stdin().as_fd().try_clone_to_owned().context("there is no standard input")?;
    // Open before confinement: the sandbox permits no `open`, but the descriptor stays usable.
    let types_file = (rights == HelperRights::Reader && types.is_none()).then(open_kernel_types);
    confine_helper(&cage)?;
    if rights == HelperRights::Starter {
        return starter::run(&input, held);
    }
    let stream = UnixStream::from(input);
    #[cfg(debug_assertions)]
    if let Some(act) = super::hostile::act_of(rights) {
        // Wait for a request, as a real intruder would arrive with one.
        return if wait_for_request(&stream)? { super::hostile::run(&act, stream) } else { Ok(()) };
    }
    if !wait_for_request(&stream)? {
        return Ok(());
    }
    match rights {
        HelperRights::Starter => {}
        HelperRights::Fetcher => serve_helper(HelperRole::Fetcher, stream)?,
        HelperRights::Verifier => serve_helper(HelperRole::Verifier, stream)?,
        HelperRights::Reader => {
            let types = || match (types, types_file) {
                (Some(index), _) => Ok(ReaderTypes::Index(Arc::new(index))),
                (None, Some(file)) => file?.read().map(ReaderTypes::Blob),
                (None, None) => Err(io::ErrorKind::NotFound.into()),
            };
            bpfmand_reader::serve(stream, types)?;
        }
    }
    Ok(())
}

/// File of the kernel's types, opened early and read only if an object needs it.
pub struct KernelTypesFile {
    file: File,
    size: usize,
}

/// Maximum size of the kernel's types; kernels have five to ten million bytes.
const TYPES: u64 = 256 << 20;

pub fn open_kernel_types() -> io::Result<KernelTypesFile> {
    let file = File::open("/sys/kernel/btf/vmlinux")?;
    let size = file.metadata()?.len().min(TYPES) as usize;
    Ok(KernelTypesFile { file, size })
}

impl KernelTypesFile {
    /// Reads the types by `read` alone: the sandbox permits no other call.
    pub fn read(self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.size + 1);
        self.file.take(TYPES).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Waits for the first request, and returns whether it came in time.
fn wait_for_request(stream: &UnixStream) -> anyhow::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let patience = Timespec { tv_sec: PATIENCE.as_secs().try_into()?, tv_nsec: 0 };
    let mut waiting = [PollFd::new(stream, PollFlags::IN)];
    Ok(poll(&mut waiting, Some(&patience))? > 0)
}
