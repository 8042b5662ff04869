//! Main function of a worker process.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bpfman_worker::{prepare_tls, serve, serve_tls};
use bpfmand_cage::{HelperCage, HelperRights, WorkerRestrictions, confine_helper};
use bpfmand_image::HelperRole;
use bpfmand_kernel::linux::SealedMapping;
use bpfmand_reader::{ReaderTypes, open_kernel_types};

use super::starter;

/// Time that a process waits for its first request. A process started ahead of need exits after it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the process that the arguments name: ROLE SECCOMP LANDLOCK.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    const STARTED: &str = "the daemon, bpfmand, starts this program; it has no use by hand";
    let (role, restrictions) = arguments.split_first().context(STARTED)?;
    let rights = match role.as_str() {
        "starter" => HelperRights::Starter,
        "fetcher" => HelperRights::Fetcher,
        "verifier" => HelperRights::Verifier,
        "tls" => HelperRights::Tls,
        _ => bail!(STARTED),
    };
    work(rights, WorkerRestrictions::parse(restrictions).context(STARTED)?, None)
}

/// Drops all rights that the process does not need, and serves until the peer on standard input closes. A reader
/// without an index of the kernel's types reads them itself.
pub fn work(
    rights: HelperRights,
    restrictions: WorkerRestrictions,
    types: Option<SealedMapping>,
) -> anyhow::Result<()> {
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(std::env::var_os);
    let cage = HelperCage { rights, restrictions, reads: named.map(PathBuf::from).collect() };
    let input = std::io::stdin().as_fd().try_clone_to_owned().context("there is no standard input")?;
    let client = match rights {
        HelperRights::Tls => {
            prepare_tls()?;
            connection()?
        }
        _ => None,
    };
    // Open before confinement: the sandbox permits no `open`, but the descriptor stays usable.
    let types_file = (rights == HelperRights::Reader && types.is_none()).then(open_kernel_types);
    confine_helper(&cage)?;
    if rights == HelperRights::Starter {
        return starter::run(&input, restrictions);
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
        HelperRights::Fetcher => serve(HelperRole::Fetcher, stream)?,
        HelperRights::Verifier => serve(HelperRole::Verifier, stream)?,
        HelperRights::Tls => serve_tls(stream, client)?,
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

fn wait_for_request(stream: &UnixStream) -> anyhow::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let patience = Timespec { tv_sec: PATIENCE.as_secs().try_into()?, tv_nsec: 0 };
    let mut waiting = [PollFd::new(stream, PollFlags::IN)];
    Ok(poll(&mut waiting, Some(&patience))? > 0)
}

/// Returns the connection of a client, which is the standard output of a TLS process; `None` if that is none.
fn connection() -> anyhow::Result<Option<TcpStream>> {
    let output = std::io::stdout().as_fd().try_clone_to_owned().context("there is no standard output")?;
    let is_socket = rustix::net::sockopt::socket_type(&output).is_ok();
    Ok(is_socket.then(|| TcpStream::from(output)))
}
