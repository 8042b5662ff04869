//! The daemon's side of the starter: its lifetime, and the processes it starts for loads.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bpfmand_cage::WorkerRestrictions;
use bpfmand_frames::{WorkerLink, order};
use bpfmand_image::{StartWorker, WorkerRole};
use bpfmand_kernel::linux::{SealedMapping, seal};
use bpfmand_observe::serve::StartTls;
use bpfmand_reader::{SharedBytes, StartReader, open_kernel_types, write_types_index};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
    socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};

use tokio::runtime::Handle;

use super::program::{WorkerProgram, check_version};
use crate::config::Config;

/// Maximum age of a process started ahead, below the time after which it exits.
const FRESH: Duration = Duration::from_secs(20);

/// Time after which a load has usually been answered: ending or starting a process can take a CPU as long as a load.
const ANSWERED: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub struct WorkerProcesses {
    orders: OwnedFd,
    verifier_ahead: PrestartedProcess,
    reader_ahead: PrestartedProcess,
    /// Index of the kernel's types in sealed memory, built on first use; `None` inside if it cannot be built.
    types: OnceLock<Option<OwnedFd>>,
    _starter: Child,
    user: u32,
}

impl WorkerProcesses {
    /// Starts the starter, as the workers' user if it can. Call it before the sandbox, with a single thread.
    ///
    /// Returns an error if the program is missing, does not start, or is of another version.
    pub fn begin(config: &Config) -> anyhow::Result<Self> {
        // Descriptors from systemd, above all the clients' socket, must not reach the workers.
        bpfmand_kernel::linux::close_on_execute()?;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let restrictions = WorkerRestrictions { seccomp: config.seccomp, landlock: config.landlock };
        let program = WorkerProgram::open()?;
        let mut command = program.command();
        command.arg("starter").args(restrictions.arguments());
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null());
        // Terminal signals go to the daemon only.
        command.process_group(0);
        let user = if bpfmand_cage::can_change_users()? {
            let user = config.workers_user;
            // A new uid drops the supplementary groups too.
            command.uid(user).gid(user);
            user
        } else {
            // Without the capability, workers keep this process's user and drop everything else.
            rustix::process::getuid().as_raw()
        };
        let starter =
            command.spawn().with_context(|| format!("cannot start {}", program.path().display()))?;
        // Close the starter's end of the socket here: otherwise, the end of the starter would go unnoticed.
        drop(command);
        check_version(program.path(), &ours)?;
        let (verifier_ahead, reader_ahead, types) = Default::default();
        Ok(Self { orders: ours, verifier_ahead, reader_ahead, types, _starter: starter, user })
    }

    pub const fn user(&self) -> u32 {
        self.user
    }

    /// Returns whether the starter is alive, judged by the socket without a request and without blocking.
    pub fn has_starter(&self) -> bool {
        is_open(&self.orders, PollFlags::empty())
    }

    pub fn starter_ends(&self) -> io::Result<impl Future<Output = ()> + use<>> {
        let orders = UnixStream::from(self.orders.try_clone()?);
        // Sending requests never blocks, so the flag does not affect them.
        orders.set_nonblocking(true)?;
        // The starter sends its version only, which has been read: a readable socket means its exit.
        let orders = tokio::net::UnixStream::from_std(orders)?;
        Ok(async move {
            let _ended = orders.readable().await;
        })
    }

    fn types(&self) -> Option<&OwnedFd> {
        let make = || {
            let btf = open_kernel_types()?.read()?;
            let memory = seal(|memory| write_types_index(btf, memory))?;
            SealedMapping::new(&memory)?;
            Ok(memory)
        };
        let make = || {
            let made: io::Result<OwnedFd> = make();
            made.inspect_err(|error| tracing::warn!(%error, "readers share no types of the kernel"))
        };
        self.types.get_or_init(|| make().ok()).as_ref()
    }

    fn order(&self, what: u8) -> io::Result<WorkerLink> {
        let types = (what == order::READER).then(|| self.types.get()?.as_ref()).flatten();
        self.order_with(what, types.map(OwnedFd::as_fd))
    }

    fn order_with(&self, what: u8, third: Option<BorrowedFd<'_>>) -> io::Result<WorkerLink> {
        let (stream, theirs) = UnixStream::pair()?;
        let (life, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut descriptors = vec![theirs.as_fd(), life.as_fd()];
        descriptors.extend(third);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !beside.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("no room for three descriptors"));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&self.orders, &[IoSlice::new(&[what])], &mut beside, flags).map_err(|error| match error {
            rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET => {
                let why = "the process that starts others has ended; restart bpfmand";
                io::Error::new(io::ErrorKind::BrokenPipe, why)
            }
            other => other.into(),
        })?;
        Ok(WorkerLink { stream, life: Some(ours) })
    }
}

impl StartWorker for WorkerProcesses {
    fn start(&self, role: WorkerRole) -> io::Result<WorkerLink> {
        let of_verifier = || self.order(order::VERIFIER);
        match role {
            WorkerRole::Fetcher => self.order(order::FETCHER),
            WorkerRole::Verifier => {
                let link = self.verifier_ahead.take().map_or_else(of_verifier, Ok)?;
                self.verifier_ahead.fill(of_verifier);
                Ok(link)
            }
        }
    }
}

impl StartReader for WorkerProcesses {
    fn start_reader(&self) -> io::Result<WorkerLink> {
        self.reader_ahead.take().map_or_else(|| self.order(order::READER), Ok)
    }

    fn end_reader(self: Arc<Self>, reader: WorkerLink, used_types: bool) {
        let start_next = move || {
            if used_types {
                let _made = self.types();
            }
            self.reader_ahead.fill(|| self.order(order::READER));
        };
        let Ok(runtime) = Handle::try_current() else { return start_next() };
        runtime.spawn(async move {
            tokio::time::sleep(ANSWERED).await;
            drop(reader);
            tokio::task::spawn_blocking(start_next);
        });
    }

    fn kernel_types(&self) -> Option<SharedBytes> {
        Some(Arc::new(SealedMapping::new(self.types()?).ok()?))
    }

    fn is_able(&self) -> bool {
        self.has_starter()
    }
}

impl StartTls for WorkerProcesses {
    fn start_tls(&self, client: Option<BorrowedFd<'_>>) -> io::Result<WorkerLink> {
        self.order_with(order::TLS, client)
    }
}

#[derive(Debug, Default)]
struct PrestartedProcess(Mutex<Option<(Instant, WorkerLink)>>);

impl PrestartedProcess {
    fn lock(&self) -> MutexGuard<'_, Option<(Instant, WorkerLink)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<WorkerLink> {
        let (since, link) = self.lock().take()?;
        is_usable(since, &link).then_some(link)
    }

    /// Starts a process unless one is ready. A failure is ignored: it is not one of the current load.
    fn fill(&self, order: impl FnOnce() -> io::Result<WorkerLink>) {
        let mut ready = self.lock();
        if ready.as_ref().is_some_and(|(since, link)| is_usable(*since, link)) {
            return;
        }
        *ready = order().ok().map(|link| (Instant::now(), link));
    }
}

fn is_usable(since: Instant, link: &WorkerLink) -> bool {
    since.elapsed() < FRESH && is_there(link)
}

fn is_there(link: &WorkerLink) -> bool {
    is_open(&link.stream, PollFlags::RDHUP)
}

/// Returns whether the other end is open. `flags` selects further events that count as closed.
fn is_open(socket: impl AsFd, flags: PollFlags) -> bool {
    let mut ended = [PollFd::new(&socket, flags)];
    poll(&mut ended, Some(&Timespec::default())).is_ok_and(|ready| ready == 0)
}
