//! The starter: no capability, no files, nothing that others wrote; it starts the binary anew, and ends what it started.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::{COMMAND, Held, order};

/// Processes at a time: more than the loads that the daemon lets wait for registries, and their verifiers.
const MOST: usize = 400;
/// What of the environment the processes get: how registries are reached.
const ENVIRONMENT: [&str; 13] = [
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "RES_OPTIONS",
    "LOCALDOMAIN",
    "RUST_BACKTRACE",
];

/// A process, as long as somebody wants it.
struct Started {
    process: Child,
    life: OwnedFd,
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// Starts what is asked for until the daemon ends, and ends it then.
pub fn run(orders: &OwnedFd, held: Held) -> anyhow::Result<()> {
    let mut started: Vec<Started> = Vec::new();
    loop {
        let mut waiting = vec![PollFd::new(orders, PollFlags::IN)];
        waiting.extend(started.iter().map(|one| PollFd::new(&one.life, PollFlags::empty())));
        match poll(&mut waiting, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error).context("cannot wait for the daemon"),
        }
        let mut closed = waiting.iter().map(|one| !one.revents().is_empty());
        let is_order = closed.next().unwrap_or_default();
        let unwanted: Vec<bool> = closed.collect();
        let mut unwanted = unwanted.into_iter();
        started.retain(|_| !unwanted.next().unwrap_or_default());
        if !is_order {
            continue;
        }
        let Some((what, descriptors)) = next_order(orders)? else { return Ok(()) };
        // Whoever asked sees its end of the socket closed.
        if started.len() >= MOST {
            eprintln!("bpfmand: {MOST} processes for images run already; no other is started");
            continue;
        }
        match start(what, descriptors, held) {
            Ok(one) => started.push(one),
            Err(error) => eprintln!("bpfmand: a process for images cannot be started: {error:#}"),
        }
    }
}

/// What to start; none once the daemon has ended.
fn next_order(orders: &OwnedFd) -> anyhow::Result<Option<(u8, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut what = [0];
    let got = recvmsg(orders, &mut [IoSliceMut::new(&mut what)], &mut beside, RecvFlags::CMSG_CLOEXEC)
        .context("cannot hear the daemon")?;
    if got.bytes == 0 {
        return Ok(None);
    }
    let descriptors = beside.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok(Some((what[0], descriptors.flatten().collect())))
}

fn start(what: u8, descriptors: Vec<OwnedFd>, held: Held) -> anyhow::Result<Started> {
    let name = match what {
        order::FETCHER => "fetcher",
        order::VERIFIER => "verifier",
        other => anyhow::bail!("the daemon asks for {other}"),
    };
    let [stream, life] = <[OwnedFd; 2]>::try_from(descriptors)
        .map_err(|found| anyhow::anyhow!("{} descriptors came instead of 2", found.len()))?;
    let kept = ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let mut command = Command::new("/proc/self/exe");
    command.args([COMMAND, name]).args(held.arguments()).env_clear().envs(kept);
    #[cfg(debug_assertions)]
    if let Some(act) = std::env::var_os(super::hostile::ACT) {
        command.env(super::hostile::ACT, act);
    }
    let process = command
        .stdin(Stdio::from(stream))
        .stdout(Stdio::null())
        .spawn()
        .context("the kernel does not start the daemon's binary anew")?;
    Ok(Started { process, life })
}
