//! Lock of a program's rules: one process at a time changes them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, MapData, MapError};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::failure::Failure;

const BPF_NOEXIST: u64 = 1;

/// Map with one entry, which identifies the process that holds the lock.
pub struct Turn(HashMap<MapData, u32, u64>);

impl Turn {
    /// Returns the lock in a program's map `writer`.
    pub fn new(writer: HashMap<MapData, u32, u64>) -> Self {
        Self(writer)
    }

    /// Acquires the lock, also from a process that was killed: rules that it did not finish are not in force.
    pub fn take(&mut self) -> Result<()> {
        let own = Writer::own()?;
        while let Err(error) = self.0.insert(0, own.0, BPF_NOEXIST) {
            if !matches!(&error, MapError::SyscallError(call) if call.io_error.kind() == io::ErrorKind::AlreadyExists)
            {
                return Err(error).context("cannot begin to write");
            }
            let Ok(holder) = self.0.get(&0, 0).map(Writer) else { continue };
            if !holder.is_gone(own) {
                return Err(Failure::conflict(
                    format!("process {} is replacing the rules", holder.process()),
                    "nothing was changed; wait for it; if it was killed in another container, `unlock` lets others write",
                )
                .into());
            }
            self.end()?;
        }
        Ok(())
    }

    /// Releases the lock, whichever process holds it.
    pub fn end(&mut self) -> Result<()> {
        match self.0.remove(&0) {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(MapError::KeyNotFound) => Ok(()),
            result => result.context("cannot let others write"),
        }
    }
}

/// Process that writes: the low half is its id, the high half the inode of its PID namespace.
#[derive(Clone, Copy)]
struct Writer(u64);

impl Writer {
    fn own() -> Result<Self> {
        let namespace =
            fs::metadata("/proc/self/ns/pid").context("cannot tell this process's PID namespace")?;
        Ok(Self(namespace.ino() << 32 | u64::from(std::process::id())))
    }

    fn process(self) -> u32 {
        self.0 as u32
    }

    /// Returns whether the process has ended; false for one of another PID namespace, where this is unknown.
    fn is_gone(self, own: Self) -> bool {
        let process = Pid::from_raw(self.process().cast_signed());
        self.0 >> 32 == own.0 >> 32
            && process.is_none_or(|process| test_kill_process(process) == Err(Errno::SRCH))
    }
}
