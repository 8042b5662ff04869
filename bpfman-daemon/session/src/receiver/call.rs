//! A call that waits for its answer.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use bpfmand_calls::{Errno, MAX_DESCRIPTORS};
use bpfmand_notify::{CallerDescriptors, CallerMemory, Listener, Notification, PendingSlot};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use crate::place::identity;

/// Address in the caller's memory. It has no meaning in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallerAddress(pub u64);

/// End of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// The caller has its answer.
    Answered,
    /// The call returns this value.
    Value(i64),
}

/// A call, with what was copied from its caller.
#[derive(Debug)]
pub struct WaitingCall<'a> {
    listener: &'a Listener,
    slot: &'a mut PendingSlot,
    notification: Notification,
    memory: CallerMemory,
    descriptors: Option<CallerDescriptors>,
    /// Number in the caller, and the position in `passed`.
    numbers: Vec<(i32, usize)>,
    passed: Vec<OwnedFd>,
}

/// Newest version of the structures of capget(2).
const CAPABILITY_VERSION: u32 = 0x2008_0522;

impl<'a> WaitingCall<'a> {
    /// Creates the call of a notification, which `slot` preserves if this process is killed.
    pub fn new(listener: &'a Listener, slot: &'a mut PendingSlot, notification: Notification) -> Self {
        let memory = CallerMemory::of(notification.thread);
        Self {
            listener,
            slot,
            notification,
            memory,
            descriptors: None,
            numbers: Vec::new(),
            passed: Vec::new(),
        }
    }

    /// Returns the descriptor that an earlier receiver gave the caller before it was killed.
    pub fn given(&self) -> Option<i64> {
        self.slot.given().map(i64::from)
    }

    pub const fn argument(&self, index: usize) -> u64 {
        self.notification.arguments[index]
    }

    pub const fn thread(&self) -> u32 {
        self.notification.thread
    }

    /// Fails if the caller no longer waits: its PID may be reused, and the copied memory may be another process's.
    pub fn check_waiting(&self) -> Result<(), Errno> {
        if self.listener.is_waiting(self.notification.id) { Ok(()) } else { Err(Errno::NOENT) }
    }

    pub fn read(&self, from: CallerAddress, length: u64) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| Errno::TOO_BIG)?];
        self.memory.read(from.0, &mut bytes)?;
        Ok(bytes)
    }

    pub fn read_text(&self, from: CallerAddress, most: usize) -> Result<Vec<u8>, Errno> {
        Ok(self.memory.read_text(from.0, most)?)
    }

    pub fn write(&self, to: CallerAddress, bytes: &[u8]) -> Result<(), Errno> {
        Ok(self.memory.write(to.0, bytes)?)
    }

    /// Returns the position of a caller's descriptor among those passed on.
    pub fn pass_descriptor(&mut self, number: i32) -> Result<usize, Errno> {
        if let Some((_, at)) = self.numbers.iter().find(|(known, _)| *known == number) {
            return Ok(*at);
        }
        let descriptor = self.caller_descriptors()?.get(number).map_err(|_| Errno::BADF)?;
        let at = self.pass(descriptor)?;
        self.numbers.push((number, at));
        Ok(at)
    }

    fn caller_descriptors(&mut self) -> Result<&CallerDescriptors, Errno> {
        if self.descriptors.is_none() {
            let opened = CallerDescriptors::of(self.thread())?;
            self.check_waiting()?;
            self.descriptors = Some(opened);
        }
        self.descriptors.as_ref().ok_or(Errno::BADF)
    }

    fn pass(&mut self, descriptor: OwnedFd) -> Result<usize, Errno> {
        if self.passed.len() == MAX_DESCRIPTORS {
            return Err(Errno::TOO_BIG);
        }
        self.passed.push(descriptor);
        Ok(self.passed.len() - 1)
    }

    /// Opens a file as the caller names it, with the rights of its user.
    pub fn pass_file(&mut self, path: &[u8]) -> Result<usize, Errno> {
        let path = Path::new(OsStr::from_bytes(path));
        let folder = if path.is_absolute() { "root" } else { "cwd" };
        let folder = format!("/proc/{}/{folder}", self.thread());
        let from =
            openat(CWD, folder.as_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(io_error)?;
        let within = if path.is_absolute() { ResolveFlags::IN_ROOT } else { ResolveFlags::NO_MAGICLINKS };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = openat2(&from, path, flags, Mode::empty(), within).map_err(io_error)?;
        self.check_waiting()?;
        self.pass(opened)
    }

    /// Fails if the caller counts processes in a namespace of its own. Check afterwards that it still waits.
    pub fn check_process_namespace(&self) -> Result<(), Errno> {
        let callers = identity(&format!("/proc/{}/ns/pid", self.thread()))?;
        if callers == identity("/proc/self/ns/pid")? { Ok(()) } else { Err(Errno::INVAL) }
    }

    /// Opens the network namespace of the calling thread.
    pub fn pass_netns(&mut self) -> Result<usize, Errno> {
        let path = format!("/proc/{}/ns/net", self.thread());
        let opened =
            openat(CWD, path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(io_error)?;
        self.check_waiting()?;
        self.pass(opened)
    }

    pub fn passed(&self) -> &[OwnedFd] {
        &self.passed
    }

    /// Returns whether the caller has a descriptor of this number.
    pub fn find_descriptor(&mut self, number: i32) -> Result<bool, Errno> {
        Ok(self.caller_descriptors()?.get(number).is_ok())
    }

    /// Gives the caller a descriptor, with this number if there is one, and returns its number, the result of the call.
    pub fn give(
        &mut self,
        descriptor: &OwnedFd,
        close_on_exec: bool,
        number: Option<u32>,
    ) -> Result<CallOutcome, Errno> {
        let id = self.notification.id;
        // Not in one step with the answer: a kill in the middle of that step would let the call return 0.
        let given = self.listener.give(id, descriptor.as_fd(), close_on_exec, number)?;
        self.slot.keep_given(given);
        Ok(CallOutcome::Value(given.into()))
    }

    pub fn finish(&self, result: Result<i64, Errno>) {
        let _gone = self.listener.answer(self.notification.id, result.map_err(|error| error.0));
    }

    /// Has the kernel make the call with the caller's own rights, which are none.
    pub fn leave_to_kernel(&self) -> CallOutcome {
        let _gone = self.listener.leave_to_kernel(self.notification.id);
        CallOutcome::Answered
    }

    /// Answers capget(2) with all capabilities, for programs that look before they try.
    pub fn answer_capabilities(&self) -> Result<CallOutcome, Errno> {
        let (head, data) = (self.argument(0), self.argument(1));
        let version = self.read(CallerAddress(head), 4)?;
        if data == 0 || version != CAPABILITY_VERSION.to_ne_bytes() {
            return Ok(self.leave_to_kernel());
        }
        let all: [u32; 6] = [u32::MAX, u32::MAX, 0, 0x1ff, 0x1ff, 0];
        let bytes: Vec<u8> = all.into_iter().flat_map(u32::to_ne_bytes).collect();
        self.check_waiting()?;
        self.write(CallerAddress(data), &bytes)?;
        Ok(CallOutcome::Value(0))
    }
}

pub fn io_error(error: rustix::io::Errno) -> Errno {
    io::Error::from(error).into()
}
