//! The process that asked for a session, as the kernel knows it.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use bpfmand_notify::{Rights, peer_groups, peer_process};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{PidfdFlags, pidfd_open};

#[derive(Debug)]
pub struct SessionClient {
    pub rights: Rights,
    process: OwnedFd,
    folder: PathBuf,
}

impl SessionClient {
    /// Identifies the process at the other end of a connection.
    pub fn of(connection: &UnixStream) -> anyhow::Result<Self> {
        let peer = socket_peercred(connection)?;
        let (uid, gid) = (peer.uid.as_raw(), peer.gid.as_raw());
        if uid == 0 {
            bail!("root needs no session: run the command itself");
        }
        let groups = peer_groups(connection)?;
        let process = match peer_process(connection) {
            Ok(process) => process,
            // Before Linux 6.5: the process that has the number now, which must have the same user.
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
                pidfd_open(peer.pid, PidfdFlags::empty())?
            }
            Err(error) => return Err(error.into()),
        };
        let folder = PathBuf::from(format!("/proc/{}", peer.pid.as_raw_pid()));
        let this = Self { rights: Rights { uid, gid, groups }, process, folder };
        let owner = fs::metadata(&this.folder).context("the client is gone")?.uid();
        if owner != uid {
            bail!("the client's process belongs to user {owner} now, not to {uid}");
        }
        this.check_alive()?;
        Ok(this)
    }

    /// Fails if the process has ended, so that another one may have its number.
    pub fn check_alive(&self) -> anyhow::Result<()> {
        let mut ended = [PollFd::new(&self.process, PollFlags::IN)];
        if poll(&mut ended, Some(&Timespec::default()))? > 0 {
            bail!("the client has ended");
        }
        Ok(())
    }

    pub fn process(&self) -> std::os::fd::BorrowedFd<'_> {
        self.process.as_fd()
    }

    /// Reads a file of the process in `/proc`.
    pub fn read(&self, name: &str) -> anyhow::Result<String> {
        let path = self.folder.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        self.check_alive()?;
        Ok(text)
    }

    /// Returns device and inode of a file of the process in `/proc`, after following its link.
    pub fn identity(&self, name: &str) -> anyhow::Result<(u64, u64)> {
        let found = fs::metadata(self.folder.join(name))?;
        self.check_alive()?;
        Ok((found.dev(), found.ino()))
    }
}
