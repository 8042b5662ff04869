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
use bpfmand_cage::{WorkerCage, WorkerRestrictions, WorkerRights, confine_worker};
use bpfmand_frames::environment;
use bpfmand_image::WorkerRole;
use bpfmand_kernel::linux::SealedMapping;
use bpfmand_reader::{ReaderTypes, open_kernel_types, warm_up};

use super::starter;

/// Time that a process waits for its first request. A spare process exits after it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Runs the process that the arguments name: ROLE SECCOMP LANDLOCK.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    const STARTED: &str = "the daemon, bpfmand, starts this program; it has no use by hand";
    let (role, restrictions) = arguments.split_first().context(STARTED)?;
    let rights = match role.as_str() {
        "starter" => WorkerRights::Starter,
        "fetcher" => WorkerRights::Fetcher,
        "verifier" => WorkerRights::Verifier,
        "tls" => WorkerRights::Tls,
        _ => bail!(STARTED),
    };
    work(rights, WorkerRestrictions::parse(restrictions).context(STARTED)?, None)
}

/// Drops all rights that the process does not need, and serves until the peer on standard input closes. A reader
/// without an index of the kernel's types reads them itself.
pub fn work(
    rights: WorkerRights,
    restrictions: WorkerRestrictions,
    types: Option<SealedMapping>,
) -> anyhow::Result<()> {
    let named = environment::AUTHORITIES.into_iter().filter_map(std::env::var_os);
    let cage = WorkerCage { rights, restrictions, reads: named.map(PathBuf::from).collect() };
    let input = std::io::stdin().as_fd().try_clone_to_owned().context("there is no standard input")?;
    let client = match rights {
        WorkerRights::Tls => {
            prepare_tls()?;
            connection()?
        }
        _ => None,
    };
    // Open before confinement: the sandbox permits no `open`, but the descriptor stays usable.
    let types_file = (rights == WorkerRights::Reader && types.is_none()).then(open_kernel_types);
    confine_worker(&cage)?;
    if rights == WorkerRights::Starter {
        return starter::run(&input, restrictions);
    }
    let stream = UnixStream::from(input);
    #[cfg(debug_assertions)]
    if let Some(act) = super::hostile::act_of(rights) {
        // Wait for a request, as a real intruder would arrive with one.
        return if has_request(&stream, TIMEOUT)? { super::hostile::run(&act, stream) } else { Ok(()) };
    }
    if rights == WorkerRights::Reader && !has_request(&stream, Duration::ZERO)? {
        warm_up()?;
    }
    if !has_request(&stream, TIMEOUT)? {
        return Ok(());
    }
    match rights {
        WorkerRights::Starter => {}
        WorkerRights::Fetcher => serve(WorkerRole::Fetcher, stream)?,
        WorkerRights::Verifier => serve(WorkerRole::Verifier, stream)?,
        WorkerRights::Tls => serve_tls(stream, client)?,
        WorkerRights::Reader => {
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

fn has_request(stream: &UnixStream, patience: Duration) -> anyhow::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let patience = Timespec { tv_sec: patience.as_secs().try_into()?, tv_nsec: 0 };
    let mut waiting = [PollFd::new(stream, PollFlags::IN)];
    Ok(poll(&mut waiting, Some(&patience))? > 0)
}

/// Returns a client's connection, the standard output of a TLS process; `None` if there is no client.
fn connection() -> anyhow::Result<Option<TcpStream>> {
    let output = std::io::stdout().as_fd().try_clone_to_owned().context("there is no standard output")?;
    let is_socket = rustix::net::sockopt::socket_type(&output).is_ok();
    Ok(is_socket.then(|| TcpStream::from(output)))
}
