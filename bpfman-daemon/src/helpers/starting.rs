//! The daemon's side: the starter's life, and processes for loads.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bpfmand_image::{HelperLink, HelperRole, StartHelper};
use bpfmand_kernel::linux::{SealedMapping, seal};
use bpfmand_reader::{ReaderLink, SharedBytes, StartReader, write_types_index};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
    socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};

use super::process::open_kernel_types;
use super::{COMMAND, Held, order, set_environment};
use crate::config::Config;

/// How old a process may be that was started ahead: below the time after which it ends by itself.
const FRESH: Duration = Duration::from_secs(20);

/// Starts processes for images and objects by way of the starter.
#[derive(Debug)]
pub struct HelperProcesses {
    orders: OwnedFd,
    verifier_ahead: Ahead,
    reader_ahead: Ahead,
    /// The index of the kernel's types, in sealed memory. Made once something needs them; none: it cannot be made.
    types: OnceLock<Option<OwnedFd>>,
    /// Ends with the daemon.
    _starter: Child,
    user: u32,
}

impl HelperProcesses {
    /// Starts the starter, with this user and this group: to be called before the cage is begun, with one thread.
    pub fn begin(config: &Config, user: u32) -> anyhow::Result<Self> {
        // What systemd handed over, above all the socket of clients, is not for them.
        bpfmand_kernel::linux::close_on_execute()?;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let held = Held { seccomp: config.seccomp, landlock: config.landlock };
        let mut command = Command::new("/proc/self/exe");
        command.args([COMMAND, "starter"]).args(held.arguments());
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null());
        set_environment(&mut command);
        // Signals of a terminal are the daemon's.
        command.process_group(0);
        let user = if bpfmand_cage::can_change_users()? {
            // Its supplementary groups go with that.
            command.uid(user).gid(user);
            user
        } else {
            // They keep this process's user, and lose the rest.
            rustix::process::getuid().as_raw()
        };
        let starter = command.spawn().context(CANNOT)?;
        let (verifier_ahead, reader_ahead, types) = Default::default();
        Ok(Self { orders: ours, verifier_ahead, reader_ahead, types, _starter: starter, user })
    }

    /// The user that the processes have.
    pub const fn user(&self) -> u32 {
        self.user
    }

    /// Whether the starter is there: seen from the socket, without an order and without waiting.
    pub fn has_starter(&self) -> bool {
        is_open(&self.orders, PollFlags::empty())
    }

    /// Waits until the starter has ended. To be called on a runtime.
    ///
    /// # Errors
    /// The runtime cannot watch one more descriptor.
    pub fn starter_ends(&self) -> io::Result<impl Future<Output = ()> + use<>> {
        let orders = UnixStream::from(self.orders.try_clone()?);
        // Orders do not wait anyway.
        orders.set_nonblocking(true)?;
        // It says nothing: what can be read is the end.
        let orders = tokio::net::UnixStream::from_std(orders)?;
        Ok(async move {
            let _ended = orders.readable().await;
        })
    }

    /// The memory with the kernel's types, which is made if there is none yet.
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

    /// Orders a process. A reader gets the kernel's types, if anything needed them before.
    fn order(&self, what: u8) -> io::Result<HelperLink> {
        let (stream, theirs) = UnixStream::pair()?;
        let (life, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut descriptors = vec![theirs.as_fd(), life.as_fd()];
        if what == order::READER {
            descriptors.extend(self.types.get().and_then(Option::as_ref).map(OwnedFd::as_fd));
        }
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
        Ok(HelperLink { stream, life: Some(ours) })
    }
}

const CANNOT: &str = "processes for images and objects cannot be started; [cage] helpers = \"off\" in bpfman.toml does without";

impl StartHelper for HelperProcesses {
    fn start(&self, role: HelperRole) -> io::Result<HelperLink> {
        let of_verifier = || self.order(order::VERIFIER);
        match role {
            HelperRole::Fetcher => self.order(order::FETCHER),
            HelperRole::Verifier => {
                let link = self.verifier_ahead.take().map_or_else(of_verifier, Ok)?;
                self.verifier_ahead.fill(of_verifier);
                Ok(link)
            }
        }
    }
}

impl StartReader for HelperProcesses {
    fn start_reader(&self) -> io::Result<ReaderLink> {
        let ready = self.reader_ahead.take();
        let HelperLink { stream, life } = ready.map_or_else(|| self.order(order::READER), Ok)?;
        Ok(ReaderLink { stream, life })
    }

    fn make_ready(&self, used_types: bool) {
        if used_types {
            let _made = self.types();
        }
        self.reader_ahead.fill(|| self.order(order::READER));
    }

    fn kernel_types(&self) -> Option<SharedBytes> {
        Some(Arc::new(SealedMapping::new(self.types()?).ok()?))
    }

    fn is_able(&self) -> bool {
        self.has_starter()
    }
}

/// A process that was started ahead: the next load does not wait for one.
#[derive(Debug, Default)]
struct Ahead(Mutex<Option<(Instant, HelperLink)>>);

impl Ahead {
    fn lock(&self) -> MutexGuard<'_, Option<(Instant, HelperLink)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that is ready, if there is one.
    fn take(&self) -> Option<HelperLink> {
        let (since, link) = self.lock().take()?;
        is_usable(since, &link).then_some(link)
    }

    /// Makes one ready, unless there is one. That there is none for the next load is no failure of this one.
    fn fill(&self, order: impl FnOnce() -> io::Result<HelperLink>) {
        let mut ready = self.lock();
        if ready.as_ref().is_some_and(|(since, link)| is_usable(*since, link)) {
            return;
        }
        *ready = order().ok().map(|link| (Instant::now(), link));
    }
}

fn is_usable(since: Instant, link: &HelperLink) -> bool {
    since.elapsed() < FRESH && is_there(link)
}

/// False of one that has ended, or was never started.
fn is_there(link: &HelperLink) -> bool {
    is_open(&link.stream, PollFlags::RDHUP)
}

/// False once the other end is closed; ends of one's own choice count besides.
fn is_open(socket: impl AsFd, flags: PollFlags) -> bool {
    let mut ended = [PollFd::new(&socket, flags)];
    poll(&mut ended, Some(&Timespec::default())).is_ok_and(|ready| ready == 0)
}
