//! The starter: a process without capabilities or files, which reads no untrusted data. It starts and kills the
//! workers.

use std::fs::File;
use std::io::{self, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::panic::catch_unwind;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use bpfmand_cage::{WorkerRestrictions, WorkerRights};
use bpfmand_frames::{environment, order};
use bpfmand_kernel::linux::{ForkedProcess, SealedMapping, fork_alone};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use tokio::signal::unix::{SignalKind, signal};

use super::{READER_NAME, process};

/// Maximum number of processes: more than the loads that may wait, their verifiers, and readers for all calls.
const MAX_PROCESSES: usize = 800;

/// Child process, alive as long as the requester keeps `life` open.
struct Started {
    _process: Process,
    life: OwnedFd,
}

enum Process {
    Executed(Child),
    Copied(ForkedProcess),
}

impl Drop for Process {
    fn drop(&mut self) {
        match self {
            Self::Executed(process) => {
                let _gone = process.kill();
                let _reaped = process.wait();
            }
            Self::Copied(process) => process.end(),
        }
    }
}

pub fn run(orders: &OwnedFd, restrictions: WorkerRestrictions) -> anyhow::Result<()> {
    // Catch signals to the whole service, to ignore them: the daemon ends this process by the socket.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    let _caught = [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    send(orders, order::VERSION.as_bytes(), SendFlags::NOSIGNAL).context("the daemon does not listen")?;
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
        // The requester sees its end of the socket closed.
        if started.len() >= MAX_PROCESSES {
            tell(format_args!("{MAX_PROCESSES} processes run already; no other is started"));
            continue;
        }
        match start(what, descriptors, restrictions) {
            Ok(one) => started.push(one),
            Err(error) => tell(format_args!("a process cannot be started: {error:#}")),
        }
    }
}

fn tell(what: std::fmt::Arguments<'_>) {
    let _closed = writeln!(std::io::stderr(), "bpfman-worker: {what}");
}

fn next_order(orders: &OwnedFd) -> anyhow::Result<Option<(u8, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
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

fn start(what: u8, descriptors: Vec<OwnedFd>, restrictions: WorkerRestrictions) -> anyhow::Result<Started> {
    let mut descriptors = descriptors.into_iter();
    let (Some(stream), Some(life)) = (descriptors.next(), descriptors.next()) else {
        anyhow::bail!("an order came without two descriptors");
    };
    let process = match what {
        order::FETCHER => Process::Executed(execute("fetcher", stream, None, restrictions)?),
        order::VERIFIER => Process::Executed(execute("verifier", stream, None, restrictions)?),
        order::TLS => Process::Executed(execute("tls", stream, descriptors.next(), restrictions)?),
        order::READER => Process::Copied(copy_as_reader(stream, descriptors.next(), restrictions)?),
        other => anyhow::bail!("the daemon asks for {other}"),
    };
    Ok(Started { _process: process, life })
}

/// Opens the standard error of a process. It is not the daemon's log: a compromised worker could forge log lines there.
fn errors() -> io::Result<OwnedFd> {
    #[cfg(debug_assertions)]
    if std::env::var_os(environment::HOSTILE).is_some() {
        use std::os::fd::AsFd as _;
        return io::stderr().as_fd().try_clone_to_owned();
    }
    Ok(File::options().write(true).open("/dev/null")?.into())
}

fn execute(
    role: &str,
    stream: OwnedFd,
    output: Option<OwnedFd>,
    restrictions: WorkerRestrictions,
) -> anyhow::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("bpfman-worker").arg(role).args(restrictions.arguments());
    if role != "fetcher" {
        environment::remove_proxies(&mut command);
    }
    command.stdin(Stdio::from(stream)).stdout(output.map_or_else(Stdio::null, Stdio::from));
    command.stderr(Stdio::from(errors()?));
    command.spawn().context("the kernel does not start the worker's binary again")
}

/// Forks a reader from this process, which has read no untrusted data: executing the binary again takes longer.
fn copy_as_reader(
    stream: OwnedFd,
    types: Option<OwnedFd>,
    restrictions: WorkerRestrictions,
) -> anyhow::Result<ForkedProcess> {
    // Map the types before the fork: the sandboxed copy cannot, and would have to read them from their file.
    let types = types.and_then(|types| SealedMapping::new(types).ok());
    let output = File::options().write(true).open("/dev/null")?.into();
    let copied = fork_alone([stream, output, errors()?]).context("the starter cannot be copied")?;
    if let Some(process) = copied {
        return Ok(process);
    }
    let read = catch_unwind(|| {
        rustix::thread::set_name(READER_NAME)?;
        process::work(WorkerRights::Reader, restrictions, types)
    });
    // Skip destructors: they belong to the starter and would kill the other processes.
    std::process::exit(i32::from(!matches!(read, Ok(Ok(())))))
}
