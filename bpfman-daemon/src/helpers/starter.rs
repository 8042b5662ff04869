//! The starter: no capability, no files, nothing that others wrote; it starts the binary anew, and ends what it started.

use std::io::{IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::signal::unix::{SignalKind, signal};

use super::{COMMAND, Held, order};

/// Processes at a time: more than the loads that the daemon lets wait for registries, their verifiers, and readers for all
/// calls.
const MOST: usize = 800;
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
    // What is sent to the whole service is for the daemon: it ends this one by closing the socket. To be caught is enough.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    let _caught = [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()].map(signal);
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
            tell(format_args!("{MOST} processes run already; no other is started"));
            continue;
        }
        match start(what, descriptors, held) {
            Ok(one) => started.push(one),
            Err(error) => tell(format_args!("a process cannot be started: {error:#}")),
        }
    }
}

/// Writes to the log, which may be closed.
fn tell(what: std::fmt::Arguments<'_>) {
    let _closed = writeln!(std::io::stderr(), "bpfmand: {what}");
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
        order::READER => "reader",
        other => anyhow::bail!("the daemon asks for {other}"),
    };
    let [stream, life] = <[OwnedFd; 2]>::try_from(descriptors)
        .map_err(|found| anyhow::anyhow!("{} descriptors came instead of 2", found.len()))?;
    let kept = ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let mut command = Command::new("/proc/self/exe");
    command.args([COMMAND, name]).args(held.arguments()).env_clear().envs(kept);
    // The log is the daemon's: what others made it say would stand there as the daemon's words.
    #[cfg(not(debug_assertions))]
    let errors = Stdio::null();
    #[cfg(debug_assertions)]
    let errors = match std::env::var_os(super::hostile::ACT) {
        None => Stdio::null(),
        Some(act) => {
            command.env(super::hostile::ACT, act);
            Stdio::inherit()
        }
    };
    let process = command
        .stdin(Stdio::from(stream))
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn()
        .context("the kernel does not start the daemon's binary anew")?;
    Ok(Started { process, life })
}
