//! Listener of a seccomp filter, as in linux/seccomp.h.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use crate::PendingSlot;

/// `struct seccomp_notif`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct RawNotification {
    pub id: u64,
    pid: u32,
    flags: u32,
    number: i32,
    architecture: u32,
    instruction: u64,
    arguments: [u64; 6],
}

#[cfg(test)]
impl RawNotification {
    pub fn of(id: u64, pid: u32) -> Self {
        Self { id, pid, ..Self::default() }
    }
}

impl From<RawNotification> for Notification {
    fn from(RawNotification { id, pid, number, arguments, .. }: RawNotification) -> Self {
        Self { id, thread: pid, call: number.into(), arguments }
    }
}

/// `struct seccomp_notif_resp`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct RawAnswer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `struct seccomp_notif_addfd`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct RawDescriptor {
    id: u64,
    flags: u32,
    source: u32,
    number: u32,
    number_flags: u32,
}

const READ_WRITE: u64 = 3;
const WRITE: u64 = 1;

const fn request(direction: u64, number: u64, size: usize) -> u64 {
    direction << 30 | (size as u64) << 16 | (b'!' as u64) << 8 | number
}

const RECEIVE: u64 = request(READ_WRITE, 0, size_of::<RawNotification>());
const SEND: u64 = request(READ_WRITE, 1, size_of::<RawAnswer>());
const IS_VALID: u64 = request(WRITE, 2, size_of::<u64>());
const ADD_DESCRIPTOR: u64 = request(WRITE, 3, size_of::<RawDescriptor>());
const SET_FLAGS: u64 = request(WRITE, 4, size_of::<u64>());

const AT_NUMBER: u32 = 1;
/// Wakes the receiver on the caller's CPU (Linux 6.6).
const SYNC_WAKE_UP: u64 = 1;
const CONTINUE: u32 = 1;

/// A system call that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Number of the notification, never used again.
    pub id: u64,
    /// Calling thread, by its id in the receiver's pid namespace; 0 if it has none there.
    pub thread: u32,
    /// Number of the system call.
    pub call: i64,
    pub arguments: [u64; 6],
}

/// Descriptor by which calls that a filter selects are received and answered.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl From<OwnedFd> for Listener {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Listener {
    fn ioctl<T>(&self, request: u64, argument: *mut T) -> io::Result<i32> {
        loop {
            // SAFETY: each caller passes the structure whose size is part of the request, live and exclusively borrowed; the
            // kernel reads and writes that many bytes.
            let result = unsafe { libc::ioctl(self.0.as_raw_fd(), request as libc::Ioctl, argument) };
            if result >= 0 {
                return Ok(result);
            }
            let error = io::Error::last_os_error();
            // Repeat the request after a stop of this process: a lost answer would leave its caller waiting.
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// Waits for a call, which stays in the slot until the slot is cleared.
    ///
    /// # Errors
    /// `ENOENT` means that another call may come: the caller of this one is gone.
    pub fn receive(&self, slot: &mut PendingSlot) -> io::Result<Notification> {
        slot.clear();
        self.ioctl(RECEIVE, slot.room())?;
        slot.left().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Returns whether the caller still waits. If so, objects opened before by its pid belong to the caller.
    #[must_use]
    pub fn is_waiting(&self, mut id: u64) -> bool {
        self.ioctl(IS_VALID, &raw mut id).is_ok()
    }

    fn send(&self, mut answer: RawAnswer) -> io::Result<()> {
        self.ioctl(SEND, &raw mut answer).map(drop)
    }

    /// Answers a call with its return value, or with a positive error number.
    pub fn answer(&self, id: u64, result: Result<i64, i32>) -> io::Result<()> {
        let (value, error) = match result {
            Ok(value) => (value, 0),
            Err(number) => (0, -number),
        };
        self.send(RawAnswer { id, value, error, flags: 0 })
    }

    /// Has the kernel make the call, with the caller's own rights.
    ///
    /// Never a decision: the caller can change what its arguments point to before the kernel reads them again.
    pub fn leave_to_kernel(&self, id: u64) -> io::Result<()> {
        self.send(RawAnswer { id, value: 0, error: 0, flags: CONTINUE })
    }

    /// Gives the caller a descriptor, with this number if there is one, and returns its number. The call still waits.
    ///
    /// # Errors
    /// `ENOENT` if the caller is gone, `EMFILE` if it has too many.
    pub fn give(
        &self,
        id: u64,
        descriptor: BorrowedFd<'_>,
        close_on_exec: bool,
        number: Option<u32>,
    ) -> io::Result<i32> {
        let flags = if number.is_some() { AT_NUMBER } else { 0 };
        let number_flags = if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 };
        let source = descriptor.as_raw_fd() as u32;
        let mut raw = RawDescriptor { id, flags, source, number: number.unwrap_or_default(), number_flags };
        self.ioctl(ADD_DESCRIPTOR, &raw mut raw)
    }

    /// Wakes the receiver on the caller's CPU, where the kernel can (Linux 6.6).
    pub fn wake_up_here(&self) {
        // SAFETY: the argument of this request is a number; the kernel touches no memory of this process.
        let _older = unsafe { libc::ioctl(self.0.as_raw_fd(), SET_FLAGS as libc::Ioctl, SYNC_WAKE_UP) };
    }
}
