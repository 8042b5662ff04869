//! The daemon's side: the starter's life, and processes for loads.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bpfmand_image::{HelperLink, HelperRole, StartHelper};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
    socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};

use super::{COMMAND, Held, order};
use crate::config::Config;

/// How old a process may be that was started ahead: below the time after which it ends by itself.
const FRESH: Duration = Duration::from_secs(20);

/// Starts processes for images by way of the starter.
#[derive(Debug)]
pub struct HelperProcesses {
    orders: OwnedFd,
    /// A verifier that was started ahead: the next load does not wait for one.
    ahead: Mutex<Option<(Instant, HelperLink)>>,
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
        let begin = |user: Option<u32>| {
            let mut command = Command::new("/proc/self/exe");
            command.args([COMMAND, "starter"]).args(held.arguments()).stdout(Stdio::null());
            command.stdin(Stdio::from(theirs.try_clone()?));
            if let Some(user) = user {
                // Its supplementary groups go with that.
                command.uid(user).gid(user);
            }
            command.spawn()
        };
        let (starter, user) = match begin(Some(user)) {
            Ok(starter) => (starter, user),
            // Without CAP_SETUID and CAP_SETGID they keep this process's user, and lose the rest.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                (begin(None).context(CANNOT)?, rustix::process::getuid().as_raw())
            }
            Err(error) => return Err(error).context(CANNOT),
        };
        Ok(Self { orders: ours, ahead: Mutex::default(), _starter: starter, user })
    }

    /// The user that the processes have.
    pub const fn user(&self) -> u32 {
        self.user
    }

    fn order(&self, role: HelperRole) -> io::Result<HelperLink> {
        let (stream, theirs) = UnixStream::pair()?;
        let (life, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        let what = match role {
            HelperRole::Fetcher => order::FETCHER,
            HelperRole::Verifier => order::VERIFIER,
        };
        let descriptors = [theirs.as_fd(), life.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !beside.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("no room for two descriptors"));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&self.orders, &[IoSlice::new(&[what])], &mut beside, flags).map_err(|error| match error {
            rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET => io::Error::new(
                io::ErrorKind::BrokenPipe,
                "the process that starts those for images has ended; restart bpfmand",
            ),
            other => other.into(),
        })?;
        Ok(HelperLink { stream, life: Some(ours) })
    }
}

const CANNOT: &str =
    "processes for images cannot be started; [cage] helpers = \"off\" in bpfman.toml does without";

impl StartHelper for HelperProcesses {
    fn start(&self, role: HelperRole) -> io::Result<HelperLink> {
        if role != HelperRole::Verifier {
            return self.order(role);
        }
        let next = self.order(role)?;
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        match ahead.replace((Instant::now(), next)) {
            Some((since, link)) if since.elapsed() < FRESH => Ok(link),
            // None is there yet: this one is used, and another one waits.
            _ => {
                let used = ahead.take();
                *ahead = Some((Instant::now(), self.order(role)?));
                used.map(|(_, link)| link).ok_or_else(|| io::ErrorKind::NotFound.into())
            }
        }
    }
}
