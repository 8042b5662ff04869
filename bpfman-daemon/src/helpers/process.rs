//! One of the processes, from its first instruction.

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

/// How long a process waits for its first question: one that was started ahead and is not needed ends by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// Does what the arguments say, until whoever is at the other end of standard input ends.
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

/// Gives up what the process has no use for, and works until whoever is at the other end of standard input ends. A reader
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
    // What it has open stays so.
    let types_file = (rights == HelperRights::Reader && types.is_none()).then(open_kernel_types);
    confine_helper(&cage)?;
    if rights == HelperRights::Starter {
        return starter::run(&input, held);
    }
    let stream = UnixStream::from(input);
    #[cfg(debug_assertions)]
    if let Some(act) = super::hostile::act_of(rights) {
        // Asked for something, as an intruder in it would be.
        return if is_asked(&stream)? { super::hostile::run(&act, stream) } else { Ok(()) };
    }
    if !is_asked(&stream)? {
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

/// The kernel's types, to be read when somebody asks for what needs them.
pub struct KernelTypesFile {
    file: File,
    size: usize,
}

/// Most bytes of them; kernels have five to ten millions.
const TYPES: u64 = 256 << 20;

pub fn open_kernel_types() -> io::Result<KernelTypesFile> {
    let file = File::open("/sys/kernel/btf/vmlinux")?;
    let size = file.metadata()?.len().min(TYPES) as usize;
    Ok(KernelTypesFile { file, size })
}

impl KernelTypesFile {
    /// By no other call than `read`: nothing else is allowed by now.
    pub fn read(self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.size + 1);
        self.file.take(TYPES).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Waits for the first question.
fn is_asked(stream: &UnixStream) -> anyhow::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let patience = Timespec { tv_sec: PATIENCE.as_secs().try_into()?, tv_nsec: 0 };
    let mut waiting = [PollFd::new(stream, PollFlags::IN)];
    Ok(poll(&mut waiting, Some(&patience))? > 0)
}
